"""OpenAI's error object."""

from typing import Any

from lmx_daemon.contract.errors import LmxError

TYPES = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def openai_error(error: LmxError) -> dict[str, Any]:
    """Return OpenAI's error object; `hint` inside it is an addition of lmx."""
    kind = TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
    body: dict[str, Any] = {"message": error.message, "type": kind, "param": error.param, "code": error.code}
    if error.hint:
        body["hint"] = error.hint
    return {"error": body}

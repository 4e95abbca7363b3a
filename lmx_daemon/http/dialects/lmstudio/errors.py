"""LM Studio's error object."""

from typing import Any

from lmx_daemon.contract.errors import LmxError

TYPES = {"model_not_found": "model_not_found", "job_not_found": "job_not_found", "unsupported": "not_implemented"}


def lmstudio_error(error: LmxError) -> dict[str, Any]:
    """Return the error object. Its types are a closed list; `hint` is an addition of lmx."""
    kind = TYPES.get(error.code, "invalid_request" if error.status < 500 else "internal_error")
    body: dict[str, Any] = {"type": kind, "message": error.message, "code": error.code}
    if error.param:
        body["param"] = error.param
    if error.hint:
        body["hint"] = error.hint
    return {"error": body}

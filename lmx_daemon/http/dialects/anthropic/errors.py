"""Anthropic's error object and its statuses."""

from typing import Any

from lmx_daemon.contract.errors import LmxError

OVERLOADED = 529
TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    OVERLOADED: "overloaded_error",
}


def status_of(error: LmxError) -> int:
    """Return the status of an answer. Anthropic's clients expect 529 instead of 503."""
    return OVERLOADED if error.status == 503 else error.status


def anthropic_error(error: LmxError, request_id: str) -> dict[str, Any]:
    """Return Anthropic's error object without its `type`, which is "error".

    `details.error_code` is lmx's code. `param` and `hint` are additions of lmx.
    """
    status = status_of(error)
    kind = TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    found: dict[str, Any] = {"type": kind, "message": error.message, "details": {"error_code": error.code}}
    if error.param:
        found["param"] = error.param
    if error.hint:
        found["hint"] = error.hint
    return {"error": found, "request_id": request_id}

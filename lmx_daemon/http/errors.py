"""Errors on their way out: LmxError and what the framework raises, in the shape that each side expects."""

import re
from typing import Any, TypeVar

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException

from lmx_daemon.contract.errors import CancelledError, LmxError, NotFoundError, RequestError
from lmx_daemon.monitor.logs import log

T = TypeVar("T")
LEFT = "client disconnected prematurely"
"""Litestar's only word for it; no fault of ours, and nothing for the log."""
PLACE = re.compile(r" - at `\$\.?(?P<place>[^`]*)`$")
HALF = re.compile(rb"\\u[dD][89a-fA-F]")
"""An escape that needs a second one beside it; programs that cut texts by length leave one alone."""
TYPES = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def openai_error(error: LmxError) -> dict[str, Any]:
    """OpenAI's error object, with our hint inside."""
    kind = TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
    body: dict[str, Any] = {"message": error.message, "type": kind, "param": error.param, "code": error.code}
    if error.hint:
        body["hint"] = error.hint
    return {"error": body}


def headers_of(error: LmxError) -> dict[str, str]:
    """Return the headers that belong to the error's status: the scheme of the key, or when to try again."""
    if error.status == 401:
        return {"www-authenticate": "Bearer"}
    if error.status != 429 and error.retry_after is None:
        return {}
    return {"retry-after": str(max(1, round(error.retry_after or 1.0)))}


def decode(body: bytes, kind: type[T]) -> T:
    """`body` as `kind`. Raises RequestError naming the field."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        text = str(error)
        place = PLACE.search(text)
        param = place["place"] if place else None
        message = PLACE.sub("", text)
        missing = re.search(r"missing required field `(\w+)`", message)
        if missing:
            param = f"{param}.{missing[1]}" if param else missing[1]
        raise RequestError(f"{param}: {message}" if param else message, param=param) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        hint = "is there half a character, \\ud83d without its other half, in a text?" if HALF.search(body) else None
        raise RequestError(f"the body is not JSON: {error}", hint=hint) from error
    except RecursionError as error:
        raise RequestError("the body is nested too deeply") from error


def public_handler(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """OpenAI's object under /v1; LM Studio's string for routes that nobody has."""
    if isinstance(error, NotFoundException | MethodNotAllowedException):
        path = request.scope["path"]
        if not path.startswith("/v1/"):
            said = {"error": f"Unexpected endpoint or method. ({request.method} {path})"}
            return Response(said, status_code=404, media_type="application/json")
        error = NotFoundError(f"there is no route {request.method} {path}", hint="see README.md for the routes")
    failure = as_lmx_error(request, error)
    return Response(
        openai_error(failure),
        status_code=failure.status,
        headers=headers_of(failure),
        media_type="application/json",
    )


def admin_handler(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    if isinstance(error, NotFoundException | MethodNotAllowedException):
        error = NotFoundError(f"there is no route {request.method} {request.scope['path']}")
    failure = as_lmx_error(request, error)
    return Response(failure.body(), status_code=failure.status, media_type="application/json")


def as_lmx_error(request: Request[Any, Any, Any], error: Exception) -> LmxError:
    if isinstance(error, LmxError):
        return error
    identity = request.scope.get("state", {}).get("request_id")
    if isinstance(error, HTTPException) and error.status_code < 500:
        refused = RequestError(str(error.detail))
        refused.status = error.status_code
        return refused
    if isinstance(error, HTTPException) and error.detail == LEFT:
        return CancelledError("the client went away before its request was whole")
    log("http", "error", f"{request.method} {request.scope['path']}: {type(error).__name__}: {error}", identity)
    return LmxError("an error of lmx's own; it is in the log", hint="please report it")

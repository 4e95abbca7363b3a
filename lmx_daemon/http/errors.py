"""Exceptions to HTTP answers. The dialect that owns the path gives the body and the status; headers are chosen here."""

from litestar import Response
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException

from lmx_daemon.contract.errors import (
    CancelledError,
    EngineMissingError,
    LmxError,
    ModelLoadError,
    OutOfMemoryError,
    RequestError,
)
from lmx_daemon.http.context import AnyRequest, context_of
from lmx_daemon.monitor.logs import log

REPEATED = (ModelLoadError, EngineMissingError, OutOfMemoryError)
"""Errors that the same request gets again. SDKs retry a status of 500 or more, and each retry would be a load."""
DISCONNECTED = "client disconnected prematurely"
"""Litestar's text for a client that left while it sent its body. It has no class of its own."""


def headers_of(error: LmxError) -> dict[str, str]:
    """Return the headers that belong to an error: the scheme of the key, or whether and when to try again."""
    if error.status == 401:
        return {"www-authenticate": "Bearer"}
    if isinstance(error, REPEATED) and error.retry_after is None:
        return {"x-should-retry": "false"}
    if error.status != 429 and error.retry_after is None:
        return {}
    return {"retry-after": str(max(1, round(error.retry_after or 1.0)))}


def error_handler(request: AnyRequest, error: Exception) -> Response[bytes]:
    """Return the answer to a request whose handler, or the framework before it, raised `error`."""
    context = context_of(request)
    dialect = context.dialect
    if isinstance(error, NotFoundException | MethodNotAllowedException):
        answer, headers = dialect.no_route(request.method, request.scope["path"], context.id), dict[str, str]()
    else:
        failure = as_lmx_error(request, error)
        answer, headers = dialect.error(failure, context.id), headers_of(failure)
    return Response(answer.body, status_code=answer.status, headers=headers, media_type="application/json")


def as_lmx_error(request: AnyRequest, error: Exception) -> LmxError:
    """Return `error` as an LmxError. Log it if it is neither raised on purpose nor the client's fault."""
    if isinstance(error, LmxError):
        return error
    if isinstance(error, HTTPException) and error.status_code < 500:
        refused = RequestError(str(error.detail))
        refused.status = error.status_code
        return refused
    if isinstance(error, HTTPException) and error.detail == DISCONNECTED:
        return CancelledError("the client disconnected before its request was complete")
    message = f"{request.method} {request.scope['path']}: {type(error).__name__}: {error}"
    log("http", "error", message, context_of(request).id)
    return LmxError("internal error of lmx; the log has the details", hint="please report it")

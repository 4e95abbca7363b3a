"""LM Studio's dialect: /api/v0, /api/v1 and the greeting. Its WebSocket protocol is refused with the reason."""

from collections.abc import Sequence

import msgspec

from lmx_daemon.contract.errors import LmxError
from lmx_daemon.http.dialect import ErrorResponse
from lmx_daemon.http.dialects.lmstudio import v0, v1
from lmx_daemon.http.dialects.lmstudio.errors import lmstudio_error
from lmx_daemon.http.dialects.sse import EventStream
from lmx_daemon.http.operation import Operation

NAMESPACES = ("/llm", "/embedding", "/system", "/diagnostics", "/files", "/repository", "/plugins")
"""Paths at which lmstudio-js, lmstudio-python and `lms` open WebSockets."""
NO_WEBSOCKETS = (
    "lmx does not speak LM Studio's WebSocket protocol, which lmstudio-js, lmstudio-python and lms use. "
    "Use the REST API below /api/v1 or /v1, or the commands of lmx, which have the names of those of lms."
)


class LmStudio(EventStream):
    """Implementation of the Dialect protocol."""

    name = "lmstudio"
    prefixes = ("/api/v0", "/api/v1", "/lmstudio-greeting", *NAMESPACES)
    routes = (*v0.ROUTES, *v1.ROUTES)

    def operations(self) -> Sequence[Operation]:
        """Return the descriptions. Their types are imported only when the document is asked for."""
        from lmx_daemon.http.dialects.lmstudio.operations import OPERATIONS

        return OPERATIONS

    def error(self, error: LmxError, request_id: str) -> ErrorResponse:
        """Return LM Studio's error object."""
        return ErrorResponse(error.status, msgspec.json.encode(lmstudio_error(error)))

    def no_route(self, method: str, path: str, request_id: str) -> ErrorResponse:
        """Return LM Studio's text with status 404, or the reason why a WebSocket is refused with status 501."""
        if path.startswith(NAMESPACES):
            return ErrorResponse(501, msgspec.json.encode({"error": NO_WEBSOCKETS}))
        return ErrorResponse(404, msgspec.json.encode({"error": f"Unexpected endpoint or method. ({method} {path})"}))

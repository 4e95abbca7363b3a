"""lmx's own public routes, and the answers for paths that no other dialect owns.

Errors have OpenAI's form, which most clients read. An unknown path gets LM Studio's answer, because clients probe a
server of unknown make with LM Studio's routes and expect that text.
"""

from collections.abc import Sequence

import msgspec

from lmx_daemon.contract.errors import LmxError
from lmx_daemon.http.dialect import ErrorResponse
from lmx_daemon.http.dialects.native.routes import ROUTES
from lmx_daemon.http.dialects.openai_chat.errors import openai_error
from lmx_daemon.http.dialects.sse import EventStream
from lmx_daemon.http.operation import Operation


class Native(EventStream):
    """Implementation of the Dialect protocol. None of its routes streams."""

    name = "native"
    prefixes = ("",)
    routes = ROUTES

    def operations(self) -> Sequence[Operation]:
        """Return the descriptions. Their types are imported only when the document is asked for."""
        from lmx_daemon.http.dialects.native.operations import OPERATIONS

        return OPERATIONS

    def error(self, error: LmxError, request_id: str) -> ErrorResponse:
        """Return OpenAI's error object."""
        return ErrorResponse(error.status, msgspec.json.encode(openai_error(error)))

    def no_route(self, method: str, path: str, request_id: str) -> ErrorResponse:
        """Return LM Studio's answer, status 404."""
        message = {"error": f"Unexpected endpoint or method. ({method} {path})"}
        return ErrorResponse(404, msgspec.json.encode(message))

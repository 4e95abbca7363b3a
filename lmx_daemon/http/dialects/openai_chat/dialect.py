"""The OpenAI dialect: /v1/chat/completions, /v1/completions and /v1/models, streamed as server-sent events."""

from collections.abc import Sequence

import msgspec

from lmx_daemon.contract.errors import LmxError, NotFoundError
from lmx_daemon.http.dialect import ErrorResponse
from lmx_daemon.http.dialects.openai_chat.errors import openai_error
from lmx_daemon.http.dialects.openai_chat.routes import ROUTES
from lmx_daemon.http.dialects.sse import EventStream
from lmx_daemon.http.operation import Operation


class OpenAIChat(EventStream):
    """Implementation of the Dialect protocol."""

    name = "openai_chat"
    prefixes = ("/v1",)
    routes = ROUTES

    def operations(self) -> Sequence[Operation]:
        """Return the descriptions. Their types are imported only when the document is asked for."""
        from lmx_daemon.http.dialects.openai_chat.operations import OPERATIONS

        return OPERATIONS

    def error(self, error: LmxError, request_id: str) -> ErrorResponse:
        """Return OpenAI's error object."""
        return ErrorResponse(error.status, msgspec.json.encode(openai_error(error)))

    def no_route(self, method: str, path: str, request_id: str) -> ErrorResponse:
        """Return OpenAI's error object, status 404."""
        error = NotFoundError(f"there is no route {method} {path}", hint="GET /openapi.json lists the routes")
        return self.error(error, request_id)

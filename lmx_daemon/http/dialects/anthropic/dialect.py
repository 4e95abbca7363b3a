"""The Anthropic dialect: /v1/messages and /v1/messages/count_tokens, streamed as server-sent events with names."""

from collections.abc import Sequence

import msgspec

from lmx_daemon.contract.errors import LmxError, NotFoundError
from lmx_daemon.http.dialect import ErrorResponse, ProgressEvent
from lmx_daemon.http.dialects import sse
from lmx_daemon.http.dialects.anthropic.errors import anthropic_error, status_of
from lmx_daemon.http.dialects.anthropic.routes import ROUTES
from lmx_daemon.http.operation import Operation

PING = sse.named_event("ping")


class Anthropic(sse.EventStream):
    """Implementation of the Dialect protocol."""

    name = "anthropic"
    prefixes = ("/v1/messages", "/api/hello")
    routes = ROUTES
    keep_alive = PING

    def operations(self) -> Sequence[Operation]:
        """Return the descriptions. Their types are imported only when the document is asked for."""
        from lmx_daemon.http.dialects.anthropic.operations import OPERATIONS

        return OPERATIONS

    def progress(self, event: ProgressEvent) -> bytes:
        """Return a comment that reports `event`, and a ping, which clients count as activity."""
        return super().progress(event) + PING

    def error(self, error: LmxError, request_id: str) -> ErrorResponse:
        """Return Anthropic's error object."""
        return ErrorResponse(
            status_of(error), msgspec.json.encode({"type": "error", **anthropic_error(error, request_id)})
        )

    def no_route(self, method: str, path: str, request_id: str) -> ErrorResponse:
        """Return Anthropic's error object, status 404."""
        return self.error(NotFoundError(f"there is no route {method} {path}", hint="see docs/api.md"), request_id)

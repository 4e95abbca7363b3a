"""The admin socket's form: JSON lines for streams, and errors as `ErrorBody`, which the client library raises again."""

from collections.abc import Sequence

import msgspec

from lmx_daemon.contract.errors import LmxError, NotFoundError
from lmx_daemon.http.admin import (
    chat_routes,
    config_routes,
    history_routes,
    key_routes,
    library_routes,
    pull_routes,
    router_routes,
    routes,
)
from lmx_daemon.http.admin.lines import STREAM_TYPE
from lmx_daemon.http.dialect import ErrorResponse, ProgressEvent
from lmx_daemon.http.operation import Operation


class Admin:
    """Implementation of the Dialect protocol."""

    name = "admin"
    prefixes = ("",)
    routes = (
        *routes.ROUTES,
        *pull_routes.ROUTES,
        *library_routes.ROUTES,
        *history_routes.ROUTES,
        *config_routes.ROUTES,
        *router_routes.ROUTES,
        *key_routes.ROUTES,
        *chat_routes.ROUTES,
    )
    stream_type = STREAM_TYPE
    keep_alive = b"\n"
    any_body_type = False

    def operations(self) -> Sequence[Operation]:
        """Return nothing: the client library is the description of the admin socket."""
        return ()

    def progress(self, event: ProgressEvent) -> bytes:
        """Return nothing: the stream carries every event as a line."""
        return b""

    def error(self, error: LmxError, request_id: str) -> ErrorResponse:
        """Return the error as data."""
        return ErrorResponse(error.status, msgspec.json.encode(error.body()))

    def no_route(self, method: str, path: str, request_id: str) -> ErrorResponse:
        """Return NotFoundError as data."""
        return self.error(NotFoundError(f"there is no route {method} {path}"), request_id)

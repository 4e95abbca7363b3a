"""Ollama's dialect: /api/chat, /api/generate and the routes for models, streamed as JSON lines."""

from collections.abc import Sequence

import msgspec

from lmx_daemon.contract.errors import LmxError
from lmx_daemon.http.dialect import ErrorResponse, ProgressEvent
from lmx_daemon.http.dialects.ollama import management_routes, routes
from lmx_daemon.http.dialects.ollama.errors import ollama_error
from lmx_daemon.http.operation import Operation

GENERATING = ("chat", "generate", "embed", "embeddings")
LIBRARY = ("tags", "ps", "show", "pull", "delete", "copy", "push", "create", "blobs")
SERVER = ("version", "status", "me", "signin", "signout")


class Ollama:
    """Implementation of the Dialect protocol. It owns single paths, since LM Studio's lie below /api, too."""

    name = "ollama"
    prefixes = tuple(f"/api/{path}" for path in (*GENERATING, *LIBRARY, *SERVER))
    routes = (*routes.ROUTES, *management_routes.ROUTES)
    stream_type = management_routes.STREAM_TYPE
    keep_alive = b" "
    """White space before the next line: clients parse each line, and refuse an empty one."""
    any_body_type = True
    """Ollama's own examples send JSON without naming its type."""

    def operations(self) -> Sequence[Operation]:
        """Return the descriptions. Their types are imported only when the document is asked for."""
        from lmx_daemon.http.dialects.ollama.operations import OPERATIONS

        return OPERATIONS

    def progress(self, event: ProgressEvent) -> bytes:
        """Return white space: clients take every line for a part of the answer."""
        return self.keep_alive

    def error(self, error: LmxError, request_id: str) -> ErrorResponse:
        """Return Ollama's error object."""
        return ErrorResponse(error.status, msgspec.json.encode(ollama_error(error)))

    def no_route(self, method: str, path: str, request_id: str) -> ErrorResponse:
        """Return Ollama's error object, status 404."""
        return ErrorResponse(404, msgspec.json.encode({"error": f"there is no route {method} {path}"}))

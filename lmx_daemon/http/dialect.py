"""The seam of a dialect: what one family of routes brings, and which dialect owns a path.

A dialect translates. It holds no state of a request, and it depends on neither residency nor engines.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from litestar.handlers import HTTPRouteHandler

from lmx_daemon.contract.errors import LmxError
from lmx_daemon.contract.generation.events import Event, Loading, Prefill, Queued
from lmx_daemon.http.operation import Operation

ProgressEvent = Loading | Queued | Prefill
"""Events of a request that has no output yet."""


class ErrorResponse(NamedTuple):
    """Status and JSON body of an answer that reports an error. Headers are the same in every dialect."""

    status: int
    body: bytes


class AnswerEncoder(Protocol):
    """Translation of one request's events. It may keep state from one event to the next."""

    def stream(self, events: Sequence[Event]) -> bytes:
        """Return the bytes that `events` add to a stream, b"" for none. `Failed` is never among them."""

    def failed(self, error: LmxError) -> bytes:
        """Return the bytes that end a stream whose request has failed."""

    def whole(self, events: Sequence[Event], choices: int) -> bytes:
        """Return the JSON body of an answer that is not streamed. The last event is `Finished`."""


class Dialect(Protocol):
    """Family of routes: their paths, their media type, and the form of streams and errors."""

    @property
    def name(self) -> str:
        """Name of the dialect's package."""

    @property
    def prefixes(self) -> Sequence[str]:
        """Paths that the dialect owns, each with everything below it: "/v1" owns "/v1/models". "" owns the rest."""

    @property
    def routes(self) -> Sequence[HTTPRouteHandler]:
        """Handlers that the public app serves."""

    def operations(self) -> Sequence[Operation]:
        """Return the description of each route, for the OpenAPI document."""

    @property
    def stream_type(self) -> str:
        """Content-Type of a streamed answer."""

    @property
    def keep_alive(self) -> bytes:
        """Bytes that clients ignore, written to a stream that is otherwise silent. b"" if the form has none."""

    @property
    def any_body_type(self) -> bool:
        """Return whether bodies are JSON whatever their Content-Type. The check of Origin refuses browsers."""

    def progress(self, event: ProgressEvent) -> bytes:
        """Return bytes that clients ignore and that report `event`; b"" if the form has none."""

    def error(self, error: LmxError, request_id: str) -> ErrorResponse:
        """Return the answer for an error that occurs before the first byte of an answer."""

    def no_route(self, method: str, path: str, request_id: str) -> ErrorResponse:
        """Return the answer for a path or method that the dialect does not serve."""


class Dialects:
    """The dialects of one app. The most specific prefix decides which of them owns a path."""

    def __init__(self, dialects: Iterable[Dialect]) -> None:
        self.all = tuple(dialects)
        owners = {prefix: dialect for dialect in self.all for prefix in dialect.prefixes}
        self._owners = sorted(owners.items(), key=lambda item: len(item[0]), reverse=True)
        assert "" in owners, "one dialect has to own the paths that no other one owns"
        assert len(owners) == sum(len(dialect.prefixes) for dialect in self.all), "two dialects own one prefix"

    def owner(self, path: str) -> Dialect:
        """Return the dialect that answers for `path`, errors included."""
        return next(dialect for prefix, dialect in self._owners if is_below(path, prefix))


def is_below(path: str, prefix: str) -> bool:
    """Return whether `path` is `prefix` or continues it by whole segments."""
    return path.startswith(prefix) and (len(path) == len(prefix) or not prefix or path[len(prefix)] == "/")

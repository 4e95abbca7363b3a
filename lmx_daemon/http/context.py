"""Facts about one HTTP request that the guard establishes and that everything behind it reads."""

from collections.abc import MutableMapping
from typing import Any

import msgspec
from litestar import Request

from lmx_daemon.contract.principal import Principal
from lmx_daemon.http.dialect import Dialect

AnyRequest = Request[Any, Any, Any]
KEY = "lmx_context"


class RequestContext(msgspec.Struct, frozen=True):
    """Facts that the guard has established about a request."""

    id: str
    """The client's own request id if it has a valid form, else a new one."""
    dialect: Dialect
    """Owner of the request's path."""
    principal: Principal
    """Identity that the request acts for."""
    client: str = ""
    """Name of the client program (User-Agent), at most 80 characters."""

    traceparent: str = ""
    """Trace of the client; see Generate."""
    answer_headers: dict[bytes, bytes] = {}
    """Headers that the guard adds to the answer, whether it succeeds or fails."""

    def enter(self, scope: MutableMapping[str, Any]) -> None:
        """Attach this context to an ASGI scope."""
        scope.setdefault("state", {})[KEY] = self


def context_of(request: AnyRequest) -> RequestContext:
    """Return the context that the guard attached to the request."""
    found: RequestContext = request.scope["state"][KEY]
    return found

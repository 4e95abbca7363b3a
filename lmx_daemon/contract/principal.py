"""The identity that a request acts for, and what that identity may do."""

from typing import Literal

from lmx_daemon.contract.errors import ForbiddenError
from lmx_daemon.contract.frozen import Frozen

Scope = Literal["generate", "read", "manage", "admin"]
LOWEST_PRIORITY, HIGHEST_PRIORITY = -10, 10
HINTS = {"manage": "set an API key and send it, or set [server] manage_over_tcp; on this machine: lmx pull, lmx rm"}


class Principal(Frozen, frozen=True):
    """The result of checking a request's credentials. A request's body cannot change it."""

    tenant: str
    """Name of the share of the queue that the request is counted for."""
    key: str | None = None
    """Id of the API key that the request came with. It is not the key."""
    scopes: frozenset[Scope] = frozenset()
    max_priority: int = HIGHEST_PRIORITY
    """Bound on the priority of its requests."""

    def require(self, scope: Scope) -> None:
        """Raise ForbiddenError unless the principal has `scope`."""
        if scope not in self.scopes:
            raise ForbiddenError(
                f"this request needs the scope {scope!r}", hint=HINTS.get(scope, "send an API key that has it")
            )

    def priority(self, requested: int) -> int:
        """Return the priority of a request that names `requested`."""
        return max(LOWEST_PRIORITY, min(requested, self.max_priority))

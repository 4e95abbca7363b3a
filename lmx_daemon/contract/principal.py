"""The identity that a request acts for, and what that identity may do."""

from fnmatch import fnmatchcase
from typing import Literal

from lmx_daemon.contract.errors import ForbiddenError
from lmx_daemon.contract.frozen import Frozen

Scope = Literal["infer", "read", "pull", "manage", "admin"]
LOWEST_PRIORITY, HIGHEST_PRIORITY = -10, 10
MANAGE_HINT = (
    "send an API key that has it (lmx key create NAME --scope {scope}), or set [server] manage_over_tcp; on this "
    "machine: lmx pull, lmx rm"
)
HINTS = {"manage": MANAGE_HINT, "pull": MANAGE_HINT}
KEY_HINT = "send an API key that has it: lmx key create NAME --scope {scope}"


class Principal(Frozen, frozen=True):
    """The result of checking a request's credentials. A request's body cannot change it."""

    tenant: str
    """Name of the share of the queue that the request is counted for."""
    key: str | None = None
    """Id of the API key that the request came with. It is not the key."""
    scopes: frozenset[Scope] = frozenset()
    max_priority: int = HIGHEST_PRIORITY
    """Upper bound on the priority of its requests."""
    min_priority: int = LOWEST_PRIORITY
    """Lower bound on the priority of its requests."""
    models: tuple[str, ...] = ()
    """Patterns of the ids of models that it may use. Empty: all models."""
    rate: int | None = None
    """Maximum number of requests in any 60 seconds."""
    concurrency: int | None = None
    """Maximum number of requests at the same time."""

    def require(self, scope: Scope) -> None:
        """Raise ForbiddenError unless the principal has `scope`."""
        if scope not in self.scopes:
            raise ForbiddenError(
                f"this request needs the scope {scope!r}", hint=HINTS.get(scope, KEY_HINT).format(scope=scope)
            )

    def require_model(self, model: str) -> None:
        """Raise ForbiddenError unless the principal may use the model with the id `model`."""
        if self.models and not any(fnmatchcase(model, pattern) for pattern in self.models):
            raise ForbiddenError(
                f"this API key does not allow the model {model}",
                hint=f"it allows: {', '.join(self.models)}",
                param="model",
            )

    def priority(self, requested: int) -> int:
        """Return the priority of a request that names `requested`."""
        return max(self.min_priority, min(requested, self.max_priority))

"""The identity that a request acts for, and what that identity may do."""

from fnmatch import fnmatchcase
from typing import Literal

from lmx_daemon.contract.errors import ForbiddenError, ModelNotFoundError
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

    def allows(self, model: str) -> bool:
        """Return whether the principal may use the model with the id `model`. For it, no other models exist."""
        return not self.models or any(fnmatchcase(model, pattern) for pattern in self.models)

    def no_model(self, name: str) -> ModelNotFoundError:
        """Return the error of a name that means no model of `models`. It is the same for every other model."""
        return ModelNotFoundError(
            f"there is no model {name[:200]!r} that this API key may use",
            hint=f"it may use: {', '.join(self.models)}; GET /v1/models lists what is installed of these",
            param="model",
        )

    def priority(self, requested: int) -> int:
        """Return the priority of a request that names `requested`."""
        return max(self.min_priority, min(requested, self.max_priority))


ANY_MODEL = Principal(tenant="")
"""A principal that may use every model."""

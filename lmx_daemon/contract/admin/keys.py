"""API keys as the admin socket creates, lists and revokes them. Their secrets are in the answer to a creation only."""

from typing import Annotated, Literal

from msgspec import Meta

from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.contract.principal import HIGHEST_PRIORITY, LOWEST_PRIORITY

KeyScope = Literal["infer", "manage", "pull", "read"]
DEFAULT_SCOPES: tuple[KeyScope, ...] = ("infer", "read")
HIGHEST_KEY_PRIORITY = HIGHEST_PRIORITY - 1
"""Bound on the priority of requests on the public port; the highest priority is reserved for the admin socket."""
MAX_RATE = 100_000
MAX_KEY_SECONDS = 100 * 365 * 86_400.0
Limit = Annotated[int, Meta(ge=1, le=MAX_RATE)]
Priority = Annotated[int, Meta(ge=LOWEST_PRIORITY, le=HIGHEST_KEY_PRIORITY)]


class KeyRequest(Frozen, frozen=True):
    """Creation of an API key."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    """Label that helps to recognise the key in a list."""
    scopes: Annotated[tuple[KeyScope, ...], Meta(min_length=1)] = DEFAULT_SCOPES
    models: tuple[Annotated[str, Meta(min_length=1, max_length=200)], ...] = ()
    """Patterns of the ids of models that the key may use. Empty: all models."""
    rate: Limit | None = None
    """Maximum number of requests in any 60 seconds."""
    concurrency: Limit | None = None
    """Maximum number of requests at the same time."""
    min_priority: Priority = LOWEST_PRIORITY
    max_priority: Priority = HIGHEST_KEY_PRIORITY
    seconds: Annotated[float, Meta(gt=0, le=MAX_KEY_SECONDS)] | None = None
    """Time until the key expires. None: never."""


class ApiKey(Frozen, frozen=True):
    """An API key without its secret. The fields of its request mean the same as there."""

    id: str
    """Public part of the key. Records of requests name the key by it."""
    name: str
    scopes: tuple[KeyScope, ...]
    created_at: float
    """Unix time."""
    models: tuple[str, ...] = ()
    rate: int | None = None
    concurrency: int | None = None
    min_priority: int = LOWEST_PRIORITY
    max_priority: int = HIGHEST_KEY_PRIORITY
    expires_at: float | None = None
    used_at: float | None = None
    """Unix time of the last use, correct to an hour."""


class CreatedKey(Frozen, frozen=True):
    """A new API key together with its secret."""

    key: ApiKey
    secret: str
    """Text that clients send. It is not stored, so that no later answer can contain it."""


class KeyId(Frozen, frozen=True):
    """The id of an API key."""

    id: str

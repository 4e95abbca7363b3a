"""The common parts of every table of config.toml: the base struct, types with bounds, and the metadata of a key."""

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from msgspec import Meta

Duration = Annotated[float, Meta(gt=0, le=1e9)]
Positive = Annotated[int, Meta(ge=1)]
Natural = Annotated[int, Meta(ge=0)]
Check = Callable[[Any], object]
"""Function that raises ValueError for a value that its type allows and that is wrong all the same."""


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of every table in config.toml: unknown keys are errors."""


def hot(description: str, *, check: Check | None = None, secret: bool = False, variable: str = "") -> Any:
    """Return the metadata of a key whose change takes effect while the daemon runs."""
    return _metadata(description, "hot", check, secret, variable)


def restart(description: str, *, check: Check | None = None, secret: bool = False, variable: str = "") -> Any:
    """Return the metadata of a key whose change takes effect at the next start of the daemon."""
    return _metadata(description, "restart", check, secret, variable)


def screen(description: str, *, check: Check | None = None) -> Any:
    """Return the metadata of a key that the TUI reads when it starts. The daemon does not use it."""
    return _metadata(description, "tui", check, False, "")


def _metadata(description: str, reload: str, check: Check | None, secret: bool, variable: str) -> Any:
    """Return the metadata of a key.

    `check` finds faults beyond type and bounds. The value of a `secret` key is never shown. `variable` replaces the
    name LMX_<SECTION>_<KEY> of the environment variable.
    """
    extra = {"reload": reload, "check": check, "secret": secret, "variable": variable}
    return Meta(description=description, extra=extra)

"""The parts that each table of config.toml is made of: the base of tables, types with bounds, and metadata of keys.

`hot` and `restart` attach the help text to the type, so that it is readable at run time; keys.py lists it.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

Duration = Annotated[float, Meta(gt=0, le=1e9)]
Positive = Annotated[int, Meta(ge=1)]
Natural = Annotated[int, Meta(ge=0)]


def hot(description: str) -> Any:
    """Return the metadata of a key whose change takes effect while the daemon runs."""
    return Meta(description=description, extra={"reload": "hot"})


def restart(description: str) -> Any:
    """Return the metadata of a key whose change takes effect at the next start of the daemon or of the TUI."""
    return Meta(description=description, extra={"reload": "restart"})


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of every table in config.toml: unknown keys are errors."""

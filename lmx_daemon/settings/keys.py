"""The list of all settings keys, read from the types of schema.py, for every place that reads, checks or shows them."""

from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.settings.schema import Settings
from lmx_daemon.settings.sections.section import Check
from lmx_daemon.settings.words import choices_of, name_of

Reload = Literal["hot", "restart", "tui"]
NAME = "NAME"
"""Placeholder for the name of a table in a section of named tables."""


class Key(Frozen, frozen=True):
    """Key of the settings."""

    section: str
    name: str
    annotation: Any
    """Type of the value, with its bounds, as msgspec reads it."""
    default: Any
    """Default value; None for a key that has none."""
    help: str
    reload: Reload
    """"hot" if a change takes effect at once, "restart" at the daemon's next start, "tui" at that of the TUI."""
    check: Check | None = None
    """Raises ValueError for a value that its type allows and that is wrong all the same."""
    secret: bool = False
    """Whether the value is never shown."""
    variable: str = ""
    """Environment variable that overrides the file; empty if there is none."""
    named: bool = False
    """Whether the section has a table for each name, as [models."org/name"] has."""

    @property
    def path(self) -> str:
        """Dotted name, as error messages give it: "server.max_queued"."""
        return self.path_in(NAME) if self.named else f"{self.section}.{self.name}"

    @property
    def type(self) -> str:
        """Type in words: "integer from 0 to 65535"."""
        return name_of(self.annotation)

    @property
    def choices(self) -> tuple[str, ...]:
        """The only texts that are allowed; empty for any other type."""
        return choices_of(self.annotation)

    def path_in(self, table: str) -> str:
        """Return the dotted name of the key in the table `table` of its section: `models."org/name".ttl`."""
        return f'{self.section}."{table}".{self.name}'

    def value_in(self, settings: Settings) -> Any:
        """Return the value of a key outside named tables."""
        return getattr(getattr(settings, self.section), self.name)


@cache
def keys() -> tuple[Key, ...]:
    """Return all keys in the order of the schema."""
    found: list[Key] = []
    for section, annotation in get_type_hints(Settings).items():
        named = get_origin(annotation) is dict
        table = get_args(annotation)[1] if named else annotation
        hints = get_type_hints(table, include_extras=True)
        found += [_key(section, name, hints[name], getattr(table(), name), named) for name in table.__struct_fields__]
    return tuple(found)


@cache
def keys_by_path() -> dict[str, Key]:
    """Return the keys outside named tables by their dotted names."""
    return {key.path: key for key in keys() if not key.named}


@cache
def sections() -> dict[str, dict[str, Key]]:
    """Return the keys by section and name."""
    found: dict[str, dict[str, Key]] = {}
    for key in keys():
        found.setdefault(key.section, {})[key.name] = key
    return found


def _key(section: str, name: str, annotation: Any, default: Any, named: bool) -> Key:
    """Return the key of a field. Raises LookupError for a field without metadata, which a test would show."""
    (meta,) = [each for each in get_args(annotation) if isinstance(each, msgspec.Meta) and each.extra]
    extra = meta.extra or {}
    return Key(
        section=section,
        name=name,
        annotation=annotation,
        default=default,
        help=meta.description or "",
        reload=extra["reload"],
        check=extra["check"],
        secret=extra["secret"],
        variable="" if named else extra["variable"] or f"LMX_{section}_{name}".upper(),
        named=named,
    )

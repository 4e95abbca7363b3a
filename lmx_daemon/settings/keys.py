"""The list of all settings keys, read from the types of schema.py, for every place that shows them."""

from typing import Any, Literal

import msgspec
from msgspec import inspect

from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.settings.schema import Settings

Reload = Literal["hot", "restart"]


class Key(Frozen, frozen=True):
    """One settings key."""

    section: str
    name: str
    type: str
    """Type in words: "boolean", "number", `"auto", "off" or integer`."""
    default: Any
    """Default value; None for a key that has none."""
    help: str
    reload: Reload
    """"hot" if a change takes effect while the daemon runs, "restart" if at the next start."""

    @property
    def path(self) -> str:
        """Dotted name, as error messages give it: "server.max_queued"."""
        return f"{self.section}.{self.name}"


def keys() -> list[Key]:
    """Return all keys in the order of the schema."""
    found = []
    for section in _fields(Settings):
        table = section.type.cls
        for field in _fields(table):
            description, reload = _metadata(field.type)
            found.append(
                Key(
                    section=section.name,
                    name=field.name,
                    type=_words(field.type),
                    default=getattr(table(), field.name),
                    help=description,
                    reload=reload,
                )
            )
    return found


def _fields(struct: type[msgspec.Struct]) -> tuple[Any, ...]:
    info = inspect.type_info(struct)
    assert isinstance(info, inspect.StructType)
    return info.fields


def _metadata(found: inspect.Type) -> tuple[str, Reload]:
    """Return help and reload behaviour. Raises KeyError for a key without them, which a test would show."""
    assert isinstance(found, inspect.Metadata)
    description: str = (found.extra_json_schema or {})["description"]
    reload: Reload = (found.extra or {})["reload"]
    return description, reload


def _words(found: inspect.Type) -> str:
    *others, last = _alternatives(found)
    return f"{', '.join(others)} or {last}" if others else last


def _alternatives(found: inspect.Type) -> list[str]:
    """Return the types that a value may have, in words; None, which stands for an unset key, is left out."""
    match found:
        case inspect.Metadata(type=inner):
            return _alternatives(inner)
        case inspect.UnionType(types=types):
            return [word for one in types for word in _alternatives(one)]
        case inspect.LiteralType(values=values):
            return [f'"{value}"' for value in values]
        case inspect.NoneType():
            return []
        case inspect.BoolType():
            return ["boolean"]
        case inspect.IntType():
            return ["integer"]
        case inspect.FloatType():
            return ["number"]
        case inspect.StrType():
            return ["text"]
        case inspect.VarTupleType():
            return ["list of texts"]
        case inspect.DictType():
            return ["table of texts"]
    raise TypeError(f"a settings key of type {found!r} has no words")

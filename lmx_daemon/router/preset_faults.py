"""Faults of presets in words: keys that do not exist, and values that do not suit their key. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, get_type_hints

import msgspec

from lmx_daemon.contract.errors import RequestError
from lmx_daemon.contract.generation.preset import Preset
from lmx_daemon.library.catalog.model_names import nearest_names
from lmx_daemon.settings.checks.faults import shown
from lmx_daemon.settings.words import phrase_of

TABLES = ("sampling", "tools", "template")
"""Keys of a preset that are tables."""
KEYS = (
    *(field for field in Preset.__struct_fields__ if field not in TABLES),
    *(f"{table}.{key}" for table in TABLES for key in type(getattr(Preset(), table)).__struct_fields__),
)
"""All keys of a preset."""


def unknown_key(key: str) -> RequestError | None:
    """Return the error of a key that presets do not have; None for one that they have."""
    if key in KEYS:
        return None
    near = nearest_names(key, KEYS)
    meant = f"; is {near[0]} meant?" if near else ""
    return RequestError(f"a preset has no key {key[:100]!r}{meant}", hint=f"keys: {', '.join(KEYS)}")


def bad_value(key: str, value: Any) -> RequestError | None:
    """Return the error of a value that does not suit its key, which exists; None for one that does."""
    *tables, field = key.split(".")
    kind = type(getattr(Preset(), tables[0])) if tables else Preset
    annotation = get_type_hints(kind, include_extras=True)[field]
    try:
        msgspec.convert(value, annotation)
    except msgspec.ValidationError:
        hint = f"`lmx preset set NAME {key}=` removes it"
        return RequestError(f"{key} must be {phrase_of(annotation)}, not {shown(value)}", hint=hint, param=key)
    return None


def fault_of(tables: Mapping[str, Any]) -> RequestError | None:
    """Return the first fault of a preset's tables; None if each key exists and has a value that suits it."""
    return next((fault for key, value in _flat(tables) if (fault := unknown_key(key) or bad_value(key, value))), None)


def _flat(tables: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in tables.items():
        if name in TABLES and isinstance(value, dict):
            yield from ((f"{name}.{key}", each) for key, each in value.items())
        else:
            yield name, value

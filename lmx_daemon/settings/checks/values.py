"""Values of settings as text: from a command line or an environment variable to the type of a key. Pure."""

import tomllib
from contextlib import suppress
from typing import Any

from lmx_daemon.settings.checks.faults import Fault
from lmx_daemon.settings.checks.validation import check_value
from lmx_daemon.settings.keys import Key
from lmx_daemon.settings.words import is_list, is_text


def value_of(key: Key, place: tuple[str, ...], text: str) -> tuple[Any, Fault | None]:
    """Return the value that a text means for a key and None, or None and the fault.

    Texts need no quotes, and lists of texts may be written with commas: `a, b`.
    """
    first: Fault | None = None
    for candidate in _candidates(key, text):
        value, fault = check_value(key, place, candidate)
        if fault is None:
            return value, None
        first = first or fault
    return None, first


def plain(value: Any) -> Any:
    """Return a value as TOML and JSON have it, with lists instead of tuples."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def _candidates(key: Key, text: str) -> list[Any]:
    """Return what a text may mean, the likeliest first."""
    stripped, found = text.strip(), []
    if not is_text(key.annotation) or stripped[:1] in ('"', "'", "[", "{"):
        with suppress(ValueError, RecursionError):
            found.append(tomllib.loads(f"value = {stripped}")["value"])
    if is_list(key.annotation):
        found.append([part for each in stripped.split(",") if (part := each.strip())])
    return [*found, text]

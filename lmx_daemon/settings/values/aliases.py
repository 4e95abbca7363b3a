"""The form of aliases, which are names for lists of models, and the checks that every table of them passes. Pure."""

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter

Names = str | tuple[str, ...]
"""One name, or several in the order in which they are tried."""
PRESET_PREFIX = "preset:"
"""Beginning of a name that means a preset."""
MAX_NAME = 200


def listed(names: Names) -> tuple[str, ...]:
    """Return the names as a tuple."""
    return (names,) if isinstance(names, str) else names


def is_pattern(alias: str) -> bool:
    """Return whether an alias stands for every name that matches it, as "claude-*" does."""
    return any(sign in alias for sign in "*?[")


def check_aliases(aliases: Mapping[str, Names]) -> None:
    """Raise ValueError for a name that no request can contain, for an empty list, and for aliases that form a cycle."""
    for alias, names in aliases.items():
        check_name(alias)
        if alias.startswith(PRESET_PREFIX):
            raise ValueError(f"alias {alias!r}: names that begin with {PRESET_PREFIX!r} are those of presets")
        if not listed(names):
            raise ValueError(f"alias {alias!r} lists no model")
        for name in listed(names):
            check_name(name)
            if is_pattern(name):
                raise ValueError(f"alias {alias!r}: its entry {name!r} is a pattern; list names of models")
    if cycle := cycle_in(aliases):
        raise ValueError(f"aliases form a cycle: {' -> '.join(cycle)}")


def check_name(name: str) -> None:
    """Raise ValueError for a text that cannot be the name of a model, an alias or a preset."""
    if not name or name != name.strip() or not name.isprintable() or len(name) > MAX_NAME:
        raise ValueError(
            f"{name[:MAX_NAME]!r} cannot be a name: 1 to {MAX_NAME} printable characters, no spaces at its ends"
        )


def cycle_in(aliases: Mapping[str, Names]) -> list[str]:
    """Return aliases of which each lists the next one, the first one again at the end; [] if there is no cycle.

    Patterns apply to the names of requests only, not to entries of lists, so they are not part of a cycle.
    """
    listing = {
        alias: {name for name in listed(names) if name in aliases}
        for alias, names in aliases.items()
        if not is_pattern(alias)
    }
    try:
        TopologicalSorter(listing).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []

"""Checks of `[tui.keymap]`: unknown ids, and keys that two actions share. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches

from textual.binding import Binding, BindingType

from lmx_tui import keys

CATCHES_ALL = frozenset({"prompt", "filter"})
"""Groups of text fields, whose keys hide those of their screen on purpose."""


def bindings(groups: Mapping[str, Sequence[BindingType]] = keys.GROUPS) -> dict[str, Binding]:
    """Return id -> binding of all keys."""
    found = (binding for group in groups.values() for binding in group if isinstance(binding, Binding))
    return {binding.id: binding for binding in found if binding.id}


def verbs_of(mode: str) -> list[Binding]:
    """Return the keys whose actions belong to a screen, in the order of its keys."""
    parts = [binding for part in keys.PARTS.get(mode, ()) for binding in keys.GROUPS[part]]
    found = [binding for binding in (*keys.GROUPS.get(mode, ()), *parts) if isinstance(binding, Binding)]
    own = [binding for binding in found if group_of(binding.id or "") == mode or binding.action.startswith("screen.")]
    return list({binding.action.removeprefix("screen."): binding for binding in reversed(own)}.values())[::-1]


def group_of(identity: str) -> str:
    return identity.partition(".")[0]


def keys_of(identity: str, keymap: Mapping[str, str]) -> list[str]:
    """Return the keys of an action in force."""
    known = bindings()
    text = keymap.get(identity) or (known[identity].key if identity in known else "")
    return [key.strip() for key in text.split(",") if key.strip()]


def faults(keymap: Mapping[str, str]) -> list[str]:
    """Return what is wrong with a keymap, one sentence each: unknown ids first, then clashes."""
    known = bindings()
    return [*_unknown(keymap, known), *_clashes(keymap, known)]


def clashes_of(identity: str, key: str, keymap: Mapping[str, str]) -> list[str]:
    """Return the ids of other actions that `key` would reach in the place of `identity`, or the other way round."""
    place = group_of(identity)
    return [
        other
        for other in bindings()
        if other != identity
        and _meet(place, group_of(other))
        and key in keys_of(other, keymap)
        and not _share_by_default(identity, other)
    ]


def _unknown(keymap: Mapping[str, str], known: Mapping[str, Binding]) -> Iterator[str]:
    for identity in keymap:
        if identity not in known:
            nearest = get_close_matches(identity, known, n=1)
            yield f"keymap: there is no action {identity!r}" + (f"; did you mean {nearest[0]!r}?" if nearest else "")


def _clashes(keymap: Mapping[str, str], known: Mapping[str, Binding]) -> Iterator[str]:
    told: set[frozenset[str]] = set()
    for identity in keymap:
        if identity not in known:
            continue
        for key in keys_of(identity, keymap):
            for other in clashes_of(identity, key, keymap):
                pair = frozenset((identity, other, key))
                if pair not in told:
                    told.add(pair)
                    yield f"keymap: {key} is the key of both {identity} and {other}"


def _meet(one: str, other: str) -> bool:
    """Return whether keys of two groups can be active at the same time."""
    if one == other:
        return True
    if one in CATCHES_ALL or other in CATCHES_ALL:
        return False
    screens = set(keys.SCREENS.values())
    return not ({one, other} <= screens) and bool({one, other} & {"app", "table", "lines"})


def _share_by_default(one: str, other: str) -> bool:
    """Return whether two actions share a key on purpose, since only one of them is possible at a time."""
    return bool(set(keys_of(one, {})) & set(keys_of(other, {})))

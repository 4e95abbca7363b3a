"""Search for markers in a text that arrives in pieces. Pure, and linear in the length of the text."""

import functools
import re
from collections.abc import Sequence


class MarkerPattern:
    """Patterns of a set of markers. Among markers that begin at one place the shortest one is found."""

    def __init__(self, markers: Sequence[str]) -> None:
        ordered = sorted(set(markers), key=lambda marker: (len(marker), marker))
        self._whole = re.compile("|".join(map(re.escape, ordered)) or "(?!)")
        self._begun = re.compile("|".join(f"(?:{_beginning(marker)})\\Z" for marker in ordered) or "(?!)")
        self._longest = max(map(len, ordered), default=1)
        self.firsts = frozenset(marker[0] for marker in ordered)
        """First characters of the markers."""

    def find(self, text: str, place: int, final: bool) -> tuple[int, str]:
        """Return where the next marker begins, and the marker.

        The marker is "" where there is none yet: the text up to the returned place contains no part of one. With
        `final` no text follows.
        """
        found = self._whole.search(text, place)
        begun = None if final else self._begun.search(text, max(place, len(text) - self._longest + 1))
        if found is not None and (begun is None or found.start() < begun.start()):
            return found.start(), found[0]
        return (begun.start() if begun is not None else len(text)), ""

    def begins(self, text: str) -> bool:
        """Return whether `text` is the beginning of a marker. A single character does not count."""
        return len(text) > 1 and self._begun.fullmatch(text) is not None


@functools.lru_cache(maxsize=256)
def marker_pattern(markers: tuple[str, ...]) -> MarkerPattern:
    """Return the patterns of `markers`, which are compiled once."""
    return MarkerPattern(markers)


def _beginning(marker: str) -> str:
    """Return a pattern of all beginnings of `marker` that are shorter than it."""
    pattern = ""
    for character in reversed(marker[:-1]):
        pattern = re.escape(character) + (f"(?:{pattern})?" if pattern else "")
    return pattern or "(?!)"

"""Output in ASCII for terminals without UTF-8: the locale's character set, and a filter of everything that is drawn."""

from collections.abc import Mapping
from functools import lru_cache
from itertools import chain

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

PLAIN = {
    **dict.fromkeys("─━═▁▔", "-"),
    **dict.fromkeys("│┃║▌▐▎▊▏▕", "|"),
    **dict.fromkeys("╭╮╰╯┌┐└┘├┤┬┴┼", "+"),
    **dict.fromkeys("█▓▇▆▅■▉", "#"),
    **dict.fromkeys("▒▄▃▀", "="),
    **dict.fromkeys("░▂", "."),
    **dict.fromkeys("●◆★", "*"),
    **dict.fromkeys("○◌◐", "o"),
    **dict.fromkeys("▶▸►→", ">"),
    **dict.fromkeys("◀◂←", "<"),
    **dict.fromkeys("▲↑", "^"),
    **dict.fromkeys("▼↓", "v"),
    **dict.fromkeys("·•–—−", "-"),  # noqa: RUF001
    **dict.fromkeys("‘’", "'"),  # noqa: RUF001
    **dict.fromkeys("“”", '"'),
    "…": "~", "✓": "+", "✗": "x", "×": "x", "‖": "=", "⏎": "^", "≈": "~", "≤": "<", "≥": ">",  # noqa: RUF001
}  # fmt: skip
"""Character of lmx's screens -> ASCII character of the same width."""
C_LOCALES = frozenset({"C", "POSIX"})


def has_utf8(environment: Mapping[str, str]) -> bool:
    """Return whether the locale's character set is UTF-8. Without any locale, UTF-8 is assumed.

    Python sets LC_CTYPE to C.UTF-8 where LANG is C (PEP 538), so that value of LC_CTYPE means nothing then.
    """
    lang = environment.get("LANG", "")
    ctype = environment.get("LC_CTYPE", "")
    if lang in C_LOCALES and ctype.upper() in ("C.UTF-8", "C.UTF8"):
        ctype = ""
    name = environment.get("LC_ALL") or ctype or lang
    if not name:
        return True
    charset = name.partition(".")[2].partition("@")[0].lower().replace("-", "")
    return charset == "utf8" if charset else name.upper() == "UTF-8"


@lru_cache(maxsize=4096)
def plain(text: str) -> str:
    """Return `text` in ASCII, in as many cells. A character without a counterpart becomes one or two question marks."""
    if text.isascii():
        return text
    return "".join(chain.from_iterable(_plain_character(character) for character in text))


def _plain_character(character: str) -> str:
    if character.isascii():
        return character
    return PLAIN.get(character, "?" * cell_len(character))


class AsciiFilter(LineFilter):
    """Filter that replaces all characters beyond ASCII in what is drawn."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [Segment(plain(text), style, control) for text, style, control in segments]

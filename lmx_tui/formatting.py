"""Text forms of numbers and of foreign text for the screens. All functions are pure; an unknown value is "-"."""

from collections.abc import Iterable

from lmx_daemon.contract.errors import ErrorBody
from lmx_daemon.contract.units import UNKNOWN, tokens

_REPLACEMENTS: dict[int, str | None] = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"}
_REPLACEMENTS |= {0x7F: "␡", 0x0D: None}
_REPLACEMENTS |= dict.fromkeys(range(0x80, 0xA0), "�")
_REPLACEMENTS |= dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x2028, 0x2029), "�")


def clean(text: str) -> str:
    """Return `text` without terminal controls: they become visible symbols, CR is removed, line feeds and tabs stay.

    Bidirectional controls are replaced too, since they change the order in which a line is read.
    """
    return text if text.isascii() and text.isprintable() else text.translate(_REPLACEMENTS)


def one_line(text: str) -> str:
    """Return `text` as one line, without zero-width characters, which can make two names look alike."""
    line = " ".join(clean(text).split())
    return line if line.isprintable() else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)


def shorten(text: str, width: int) -> str:
    """Return `text` cut to `width` characters, with an ellipsis if anything was cut."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def fewer_words(text: str, width: int) -> str:
    """Return the longest form that fits `width`: the whole text, the part before a colon, or the first word."""
    forms = (text, text.partition(":")[0], text.partition(" ")[0])
    return next((form for form in forms if len(form) <= width), forms[-1])


def with_hint(error: ErrorBody) -> str:
    """Return the message of an error and its hint, if it has one, as two sentences."""
    return f"{error.message}. {error.hint}" if error.hint else error.message


def count(value: int | None) -> str:
    """Return 1234 as "1,234"."""
    return UNKNOWN if value is None else f"{value:,}"


def rate(value: float | None) -> str:
    """Return tokens per second without the unit; zero is "-"."""
    if not value:
        return UNKNOWN
    return f"{value:.1f}" if value < 1000 else f"{value / 1000:.1f}k"


def percent(fraction: float | None) -> str:
    return UNKNOWN if fraction is None else f"{fraction:.0%}"


def bar(fraction: float | None, width: int, *, full: str = "█", empty: str = "░") -> str:
    filled = 0 if fraction is None else round(max(0.0, min(1.0, fraction)) * width)
    return full * filled + empty * (width - filled)


def cached(part: int | None, whole: int | None) -> str:
    """Return the cached share of a prompt's tokens: "93% cached"."""
    return f"{percent(part / whole)} cached" if part is not None and whole else ""


def miss_reason(miss: str, at: int | None) -> str:
    """Return the reason for a prefix cache miss, and the index of the first token that differs."""
    return f"{one_line(miss)}{'' if at is None else f', at token {count(at)}'}" if miss else ""


def parameters(value: int | None) -> str:
    """Return 8_190_000_000 as "8.2B"."""
    if not value:
        return UNKNOWN
    for unit, each in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= each:
            return f"{value / each:.1f}{unit}"
    return str(value)


def short_name(model: str) -> str:
    """Return a model's id without its owner; lmx's own models keep theirs."""
    return one_line(model if model.startswith("lmx/") else model.rpartition("/")[2])


def context_meter(used: int | None, length: int, width: int = 10, *, about: bool = False) -> str:
    """Return "ctx ███░░░░░░░ 4.1k/32k", or "ctx -" if a figure is unknown; with `about`, `used` is an estimate."""
    if used is None or not length:
        return f"ctx {UNKNOWN}"
    words = f"{'~' if about else ''}{tokens(used)}/{tokens(length)}"
    return " ".join(filter(None, ("ctx", bar(used / length, width), words)))


def joined(parts: Iterable[str], width: int) -> str:
    """Return parts separated by dots; the last ones are left out if they exceed `width`."""
    line = ""
    for part in parts:
        longer = f"{line} · {part}" if line else part
        if len(longer) > width:
            return line or shorten(part, width)
        line = longer
    return line

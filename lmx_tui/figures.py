"""Numbers and foreign text as a screen shows them. Pure. What is not known is "-"."""

UNKNOWN = "-"
LONGEST_DAYS = 9999
"""The longest time that is shown in full, so that no figure of a client or a file fills the screen."""
_KILO = 1000.0
_VISIBLE: dict[int, str | None] = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"}
_VISIBLE |= {0x7F: "␡", 0x0D: None}
_VISIBLE |= dict.fromkeys(range(0x80, 0xA0), "�")
_VISIBLE |= dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x2028, 0x2029), "�")


def clean(text: str) -> str:
    """`text` with nothing in it that a terminal would obey: controls become visible signs, CR goes, \\n and \\t stay.

    Direction overrides go the same way: they make a line read other than it is.
    """
    return text if text.isascii() and text.isprintable() else text.translate(_VISIBLE)


def one_line(text: str) -> str:
    """Return `text` as one line, without the zero-width characters that make two names look alike."""
    line = " ".join(clean(text).split())
    return line if line.isprintable() else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)


def shorten(text: str, width: int) -> str:
    """`text` cut to `width` characters, the cut shown."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def size(count: float | None) -> str:
    """Bytes in decimal units, as the Hub and Apple's disks count them: "4.6 GB"."""
    if not count:
        return UNKNOWN if count is None else "0 B"
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < _KILO:
            return f"{value:.0f} {unit}" if unit in ("B", "kB") or value >= 100 else f"{value:.1f} {unit}"
        value /= _KILO
    return f"{value:.1f} GB"


def size_of(done: int, total: int | None) -> str:
    """A part and the whole, the unit once where it is the same: "2.8/4.6 GB"."""
    part, whole = size(done), size(total)
    number, _, unit = part.partition(" ")
    return f"{number}/{whole}" if whole.endswith(f" {unit}") else f"{part}/{whole}"


def fewer_words(text: str, width: int) -> str:
    """The longest that fits `width`: all, what stands before a colon, or else the first word."""
    ways = (text, text.partition(":")[0], text.partition(" ")[0])
    return next((way for way in ways if len(way) <= width), ways[-1])


def gigabytes(count: float) -> str:
    return f"{count / 1e9:.1f}"


def count(value: int | None) -> str:
    """1234 as "1,234"."""
    return UNKNOWN if value is None else f"{value:,}"


def tokens(value: int | None) -> str:
    """A context length: 32768 as "32k", 4100 as "4.1k"."""
    if not value:
        return UNKNOWN if value is None else "0"
    if value < 1000:
        return str(value)
    if value % 1024 == 0 and value >= 1024:
        return f"{value // 1024}k"
    return f"{value / 1000:.1f}k" if value < 100_000 else f"{value / 1000:.0f}k"


def rate(value: float | None) -> str:
    """Tokens a second without the unit; none is "-"."""
    if not value:
        return UNKNOWN
    return f"{value:.1f}" if value < 1000 else f"{value / 1000:.1f}k"


def percent(fraction: float | None) -> str:
    return UNKNOWN if fraction is None else f"{fraction:.0%}"


def duration(seconds: float | None) -> str:
    """Return a time that passed: "0.21 s", "12 s", "4m 10s", "2h 3m", ">9999d"."""
    if seconds is None or seconds != seconds:
        return UNKNOWN
    if seconds > LONGEST_DAYS * 86_400:
        return f">{LONGEST_DAYS}d"
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m {rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02d}m"


def age(seconds: float | None) -> str:
    """Return how long ago, short: "now", "12s", "4m", "2h", "3d", ">9999d"."""
    if seconds is None or seconds != seconds:
        return UNKNOWN
    if seconds > LONGEST_DAYS * 86_400:
        return f">{LONGEST_DAYS}d"
    if seconds < 2:
        return "now"
    for limit, unit, each in ((60, "s", 1), (3600, "m", 60), (86400, "h", 3600)):
        if seconds < limit:
            return f"{int(seconds // each)}{unit}"
    return f"{int(seconds // 86400)}d"


def ago(seconds: float) -> str:
    """How long ago, in words: "just now", "1 minute ago", "3 days ago"."""
    for each, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= each:
            number = int(seconds // each)
            return f"{number} {unit}{'s' if number > 1 else ''} ago"
    return "just now"


def bar(fraction: float | None, width: int, *, full: str = "█", empty: str = "░") -> str:
    filled = 0 if fraction is None else round(max(0.0, min(1.0, fraction)) * width)
    return full * filled + empty * (width - filled)


def cached(part: int | None, whole: int | None) -> str:
    """Of a prompt's tokens: "93% cached"."""
    return f"{percent(part / whole)} cached" if part is not None and whole else ""


def reason(miss: str, at: int | None) -> str:
    """Why a prompt was not found in the cache, and from which of its tokens on."""
    return f"{one_line(miss)}{'' if at is None else f', at token {count(at)}'}" if miss else ""


def parameters(value: int | None) -> str:
    """8_190_000_000 as "8.2B"."""
    if not value:
        return UNKNOWN
    for unit, each in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= each:
            return f"{value / each:.1f}{unit}"
    return str(value)

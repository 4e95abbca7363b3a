"""Text forms of byte counts, durations and token counts, shared by the daemon, the engine, the TUI and the CLI.

All functions are pure. An unknown value is "-". The length of every text is bounded, even for absurd input, because a
model repository or another server can be the source of a number.
"""

import math

UNKNOWN = "-"
MAX_BYTES = 10**18
MAX_TOKENS = 10**9
MAX_DAYS = 9999
MINUTE, HOUR, DAY = 60, 3600, 86_400
DAYS_FROM = 100 * HOUR
"""Shortest duration, in seconds, that is shown in days instead of hours."""


def size(count: float | None) -> str:
    """Return a number of bytes in decimal units, as the Hub and macOS do: "15 kB", "8.4 MB", "120 MB", "4.6 GB"."""
    if count is None or count != count:
        return UNKNOWN
    value = float(max(0, min(count, MAX_BYTES)))
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            whole = unit in ("B", "kB") or (unit == "MB" and value >= 100)
            return f"{value:.0f} {unit}" if whole else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def size_of(done: int, total: int | None) -> str:
    """Return a part and its whole with a common unit written once: "2.8/4.6 GB", "15 kB/57.7 MB"."""
    part, whole = size(done), size(total)
    number, _, unit = part.partition(" ")
    return f"{number}/{whole}" if whole.endswith(f" {unit}") else f"{part}/{whole}"


def gigabytes(count: float) -> str:
    """Return a number of bytes in gigabytes without the unit, for figures that share one unit: "96.0"."""
    return f"{count / 1e9:.1f}"


def duration(seconds: float | None) -> str:
    """Return a duration in whole seconds: "3s", "4m05s", "2h10m", "12d" or ">9999d"."""
    if seconds is None or math.isnan(seconds):
        return UNKNOWN
    if seconds >= (MAX_DAYS + 1) * DAY:
        return f">{MAX_DAYS}d"
    whole = max(0, round(max(0.0, seconds)))
    if whole < MINUTE:
        return f"{whole}s"
    if whole < HOUR:
        return f"{whole // MINUTE}m{whole % MINUTE:02d}s"
    if whole < DAYS_FROM:
        return f"{whole // HOUR}h{whole % HOUR // MINUTE:02d}m"
    return f"{whole // DAY}d"


def timing(seconds: float | None) -> str:
    """Return a measured time, with hundredths below ten seconds: "0.21 s", "12 s", then as `duration`: "4m05s"."""
    if seconds is None or math.isnan(seconds):
        return UNKNOWN
    seconds = max(0.0, seconds)
    if seconds < MINUTE:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"
    return duration(seconds)


def latency(seconds: float) -> str:
    """Return a measured time with three significant digits, for benchmarks: "8.1 ms", "240 ms", "1.24 s"."""
    if seconds < 0.01:
        return f"{seconds * 1000:.1f} ms"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def age(seconds: float | None) -> str:
    """Return a duration in its largest unit, rounded down: "now", "12s", "4m", "2h", "3d"."""
    if seconds is None or math.isnan(seconds):
        return UNKNOWN
    if seconds < 2:
        return "now"
    for limit, unit, each in ((MINUTE, "s", 1), (HOUR, "m", MINUTE), (DAY, "h", HOUR)):
        if seconds < limit:
            return f"{int(seconds // each)}{unit}"
    return f"{int(seconds // DAY)}d" if seconds < (MAX_DAYS + 1) * DAY else f">{MAX_DAYS}d"


def ago(at: float | None, now: float) -> str:
    """Return the time from `at` to `now`, both in seconds since the epoch: "3m05s ago", "2d ago"."""
    if at is None:
        return UNKNOWN
    seconds = max(0.0, now - at)
    if DAY <= seconds < DAYS_FROM:
        return f"{int(seconds // DAY)}d ago"
    return f"{duration(seconds)} ago"


def ago_in_words(seconds: float) -> str:
    """Return how long ago something was, for a sentence: "just now", "1 minute ago", "3 days ago"."""
    for each, unit in ((DAY, "day"), (HOUR, "hour"), (MINUTE, "minute")):
        if seconds >= each:
            number = int(min(seconds, MAX_DAYS * DAY) // each)
            return f"{number} {unit}{'s' if number > 1 else ''} ago"
    return "just now"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: "1 message", "3 messages"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def tokens(count: int | None) -> str:
    """Return a context length: 512 as "512", 4100 as "4.1k", 32768 as "32k" (multiples of 1024 count in 1024s)."""
    if count is None:
        return UNKNOWN
    count = max(-MAX_TOKENS, min(count, MAX_TOKENS))
    if count < 1000:
        return str(count)
    if count % 1024 == 0:
        return f"{count // 1024}k"
    return f"{count / 1000:.1f}k" if count < 100_000 else f"{count / 1000:.0f}k"

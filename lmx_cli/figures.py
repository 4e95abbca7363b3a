"""Numbers as the command line shows them. Pure. What is unknown is "-"; every figure has a bounded length."""

import math

LONGEST_DAYS = 9999
MOST_BYTES = 10**18
MOST_TOKENS = 10**9


def size(count: int | None) -> str:
    """Return bytes in decimal units, as the Hub and Apple's disks count them: "4.6 GB"."""
    if count is None:
        return "-"
    value = float(max(0, min(count, MOST_BYTES)))
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit in ("B", "kB") else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def duration(seconds: float | None) -> str:
    """Return "3s", "4m05s", "2h10m", "12d" or ">9999d"; "-" where it is unknown or no number."""
    if seconds is None or math.isnan(seconds):
        return "-"
    if seconds >= (LONGEST_DAYS + 1) * 86_400:
        return f">{LONGEST_DAYS}d"
    whole = max(0, round(max(0.0, seconds)))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 100 * 3600:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86_400}d"


def ago(at: float | None, now: float) -> str:
    """Return "3m05s ago", "2d ago", or "-" where `at` is unknown."""
    if at is None:
        return "-"
    seconds = max(0.0, now - at)
    if 86_400 <= seconds < 100 * 3600:
        return f"{int(seconds // 86_400)}d ago"
    return f"{duration(seconds)} ago"


def tokens(count: int | None) -> str:
    """Return a context length: "40k", "512"."""
    if count is None:
        return "-"
    count = max(-MOST_TOKENS, min(count, MOST_TOKENS))
    return f"{count // 1024}k" if count >= 1024 else str(count)

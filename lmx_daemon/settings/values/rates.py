"""Rates of downloads as texts, and their schedule by local time. Pure."""

import re
import time
from collections.abc import Mapping

from lmx_daemon.contract.frozen import Frozen

MIN_RATE = 16_384
"""Smallest limit, in bytes per second."""
UNLIMITED = ("off", "none", "unlimited", "0")
RATE = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*([kmg]?)(?:i?b)?(?:/s)?", re.IGNORECASE | re.ASCII)
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
WINDOW = re.compile(r"(?:([a-z,\s-]+?)\s+)?(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})", re.IGNORECASE | re.ASCII)
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MINUTES = 24 * 60
FORM = 'write "08:00-18:00" or "mon-fri 08:00-18:00"'


class RateWindow(Frozen, frozen=True):
    """Entry of the schedule."""

    text: str
    """The entry as it is written."""
    days: tuple[int, ...]
    """Days on which it begins; 0 is Monday."""
    begin: int
    """Minute of the day."""
    end: int
    """Minute of the day at which it ends, on the next day if it is not after `begin`."""
    rate: int | None
    """Bytes per second; None sets no limit."""

    def contains(self, day: int, minute: int) -> bool:
        """Return whether the minute of a day is inside. After midnight, the day before counts."""
        if self.begin < self.end:
            return day in self.days and self.begin <= minute < self.end
        return (day in self.days and minute >= self.begin) or ((day - 1) % 7 in self.days and minute < self.end)


def rate_of(text: str) -> int | None:
    """Return the bytes per second of "2 MB/s", "500k" or "off", which is None. Raises ValueError."""
    plain = text.strip()
    if plain.lower() in UNLIMITED:
        return None
    found = RATE.fullmatch(plain)
    if found is None:
        raise ValueError(f"{text!r} is not a rate; write a rate such as 2 MB/s, 500 kB/s or off")
    rate = int(float(found[1]) * UNITS[found[2].lower()])
    if rate < MIN_RATE:
        raise ValueError(f"{text!r} is too little; a limit is at least 17 kB/s, and off is none")
    return rate


def parse_schedule(table: Mapping[str, str]) -> tuple[RateWindow, ...]:
    """Return the entries in their order. Raises ValueError that names the wrong entry."""
    return tuple(_window(when, rate) for when, rate in table.items())


def check_schedule(table: Mapping[str, str]) -> None:
    """Raise ValueError for a wrong entry."""
    parse_schedule(table)


def window_at(windows: tuple[RateWindow, ...], local: time.struct_time) -> RateWindow | None:
    """Return the first entry that applies at a local time."""
    minute = local.tm_hour * 60 + local.tm_min
    return next((each for each in windows if each.contains(local.tm_wday, minute)), None)


def _window(when: str, rate: str) -> RateWindow:
    found = WINDOW.fullmatch(when.strip())
    if found is None:
        raise ValueError(f"{when!r} is not a time of the day; {FORM}")
    begin, end = _minute(when, found[2], found[3]), _minute(when, found[4], found[5])
    if begin == end:
        raise ValueError(f"{when!r} has no length; the whole day is 00:00-24:00")
    try:
        return RateWindow(text=when, days=_days(when, found[1]), begin=begin % DAY_MINUTES, end=end, rate=rate_of(rate))
    except ValueError as error:
        raise ValueError(f"{when!r}: {error}" if when not in str(error) else str(error)) from None


def _minute(when: str, hour: str, minute: str) -> int:
    found = int(hour) * 60 + int(minute)
    if int(minute) > 59 or found > DAY_MINUTES:
        raise ValueError(f"{when!r} has a time that no clock shows: {hour}:{minute}; {FORM}")
    return found


def _days(when: str, text: str | None) -> tuple[int, ...]:
    """Return the days of "mon-fri", "sat,sun" or "fri-mon"; all days without a text. Raises ValueError."""
    if not text:
        return tuple(range(7))
    days: set[int] = set()
    for part in text.lower().split(","):
        first, dash, last = (each.strip() for each in part.partition("-"))
        if first not in DAYS or (dash and last not in DAYS):
            raise ValueError(f"{when!r} names a day that is not one of {', '.join(DAYS)}; {FORM}")
        begin = DAYS.index(first)
        days |= {(begin + step) % 7 for step in range((DAYS.index(last) - begin) % 7 + 1)} if dash else {begin}
    return tuple(sorted(days))

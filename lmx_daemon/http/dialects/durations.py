"""Durations as clients write them: seconds, or a number with a unit."""

import re

from lmx_daemon.contract.errors import RequestError

DURATION = re.compile(r"(-?\d{1,12}(?:\.\d+)?)(|ms|s|m|h)")
SECONDS_IN = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def keep_alive_seconds(given: float | str, name: str = "keep_alive") -> float:
    """Return the idle seconds after which a model is unloaded; -1 for a negative value, which means never.

    Raise RequestError for an unknown form.
    """
    match = DURATION.fullmatch(str(given).strip())
    if match is None:
        raise RequestError(f'{name}: {given!r} is not a duration; write seconds, or "30s", "5m", "24h"', param=name)
    seconds = float(match[1]) * SECONDS_IN[match[2]]
    return -1.0 if seconds < 0 else seconds

"""Processes that the kernel killed because memory ran out, as far as the system counts them.

Linux counts them for each control group, and for the whole machine. macOS has no counter that a program may read.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

WINDOW_SECONDS = 10.0
"""Time from a kill to the end of its process, at most: the memory of a large process is freed in between."""
IN_GROUP = ("memory.events", "memory.oom_control")
"""Files of a control group with its counter, in versions 2 and 1."""
ON_MACHINE = Path("/proc/vmstat")
COUNTER = "oom_kill"


class OomKills:
    """The number of kills, sampled, so that a kill of the last seconds is recognised."""

    def __init__(
        self,
        folders: Iterable[Path],
        machine: Path = ON_MACHINE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Find the counter: that of the first control group in `folders` that has one, else that of the machine."""
        files = [*(folder / name for folder in folders for name in IN_GROUP), machine]
        self._file = next((file for file in files if _count(file) is not None), None)
        self._clock = clock
        self._samples: deque[tuple[float, int]] = deque()
        self.sample()

    def sample(self) -> None:
        """Note the number of kills. To be called every second or so while a process may be killed."""
        now = self._clock()
        if (count := self._read()) is not None:
            self._samples.append((now, count))
        while len(self._samples) > 1 and self._samples[1][0] <= now - WINDOW_SECONDS:
            self._samples.popleft()

    def recent(self) -> bool:
        """Return whether a process was killed within the last WINDOW_SECONDS or since the last sample before."""
        count = self._read()
        return count is not None and bool(self._samples) and count > self._samples[0][1]

    def _read(self) -> int | None:
        return _count(self._file) if self._file is not None else None


def _count(file: Path) -> int | None:
    """Return the number of kills in a file of the kernel; None if the file has none."""
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    for line in lines:
        name, _, number = line.partition(" ")
        if name == COUNTER and number.strip().isdigit():
            return int(number)
    return None

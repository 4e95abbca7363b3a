"""The machine's memory: physical, what a cgroup allows, and what lmx plans to use at most."""

import sys
from pathlib import Path

import psutil

CAP_SHARE = 0.9
CGROUPS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


class Host:
    """Asks the system; one for each daemon."""

    def __init__(self) -> None:
        self._physical = psutil.virtual_memory().total
        self._limit = cgroup_limit(CGROUPS)
        self._self = psutil.Process()

    @property
    def total(self) -> int:
        return min(self._physical, self._limit or self._physical)

    @property
    def source(self) -> str:
        return "cgroup" if self._limit and self._limit < self._physical else "physical"

    @property
    def cap(self) -> int:
        """On Linux 90 % of the limit in force. A Mac's own figure comes with the memory plan; until then all of it."""
        return int(self.total * CAP_SHARE) if sys.platform == "linux" else self.total

    def available(self) -> int:
        return min(psutil.virtual_memory().available, self.total)

    def daemon(self) -> int:
        return int(self._self.memory_info().rss)


def cgroup_limit(files: tuple[Path, ...]) -> int | None:
    """Bytes that this process's control group may use, version 2 or 1; None where there is no limit."""
    for file in files:
        try:
            text = file.read_text().strip()
        except OSError:
            continue
        if text.isdigit() and int(text) < 2**60:
            return int(text)
    return None


def resident(pid: int) -> int:
    """RSS of a process; 0 when it is gone."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0

"""The memory of the machine: physical size, cgroup limits, recommended size of a GPU, and the part for lmx."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from lmx_daemon.memory.budget import MemoryBudget, Pressure, ProcessUse
from lmx_daemon.memory.oom_kills import OomKills
from lmx_daemon.memory.pressure import system_pressure
from lmx_daemon.memory.processes import Processes, system_processes
from lmx_daemon.settings.values.memory_limit import MemoryLimit

CAP_SHARE = 0.9
MEMBERSHIP = Path("/proc/self/cgroup")
UNLIMITED = 2**60
"""Threshold of unlimited control groups; version 1 reports a huge number."""
SMALL_MAC = 36 * 1024**3


@dataclass(frozen=True)
class ControlGroup:
    """Control group with a limit, in bytes. `used` excludes file pages that the system can drop."""

    limit: int
    used: int


@dataclass(frozen=True)
class Limits:
    """Memory of the machine at one moment, in bytes."""

    total: int
    source: str
    """Origin of `total`."""
    cap: int
    """Maximum for lmx: the setting, else 90 % of the limit in force."""
    available: int
    """Memory that the system can provide now within all limits."""


class Host:
    """The operating system's figures about memory; one object for each daemon.

    `limit` returns the setting in force. `processes`, `pressure` and `system`, which is sys.platform, are replaced in
    tests.
    """

    def __init__(
        self,
        limit: Callable[[], MemoryLimit],
        cgroups: Path = Path("/sys/fs/cgroup"),
        *,
        processes: Processes | None = None,
        pressure: Callable[[int, int], Pressure] = system_pressure,
        system: str = sys.platform,
    ) -> None:
        self._limit = limit
        self._cgroups = cgroups
        self._processes = processes or system_processes()
        self._pressure = pressure
        self._system = system
        self._physical = int(psutil.virtual_memory().total)
        self._self = psutil.Process()
        self.oom_kills = OomKills(_folders(cgroups, MEMBERSHIP))
        """OOM kills by the kernel, in the daemon's control group if there is one."""
        self.device_memory: int | None = None
        """Recommended working set of the GPU; reported by the first worker."""

    def limits(self) -> Limits:
        """Return the current limits."""
        groups = limited_groups(self._cgroups)
        total, source = self._total(groups)
        limit = self._limit()
        cap = min(limit.of(total), total) if limit.given else int(total * CAP_SHARE)
        free = [int(psutil.virtual_memory().available), *(group.limit - group.used for group in groups)]
        return Limits(total, source, cap, max(0, min(free)))

    def room(self) -> MemoryBudget:
        """Return the budget of all models.

        The memory that other programs leave is a limit, except for a GPU with memory of its own, and on a Mac if the
        setting is an amount: macOS reports less than it can free by compression and swapping.
        """
        limits = self.limits()
        open_ended = self._limit().given if self._system == "darwin" else self.device_memory is not None
        return MemoryBudget(limits.cap, None if open_ended else limits.available, self._pressure_of(limits))

    def use(self, pid: int) -> ProcessUse:
        """Return the use of a process as counted by the system."""
        return self._processes.use(pid)

    def daemon(self) -> int:
        """Return the memory of the daemon process."""
        return self.use(self._self.pid).memory

    def _pressure_of(self, limits: Limits) -> Pressure:
        whole = self._physical if self.device_memory is not None else limits.total
        return self._pressure(limits.available, whole)

    def _total(self, groups: list[ControlGroup]) -> tuple[int, str]:
        if self.device_memory is not None:
            return self.device_memory, "device"
        if self._system == "darwin":  # until a worker has asked the GPU: what macOS recommends by default
            share = 2 / 3 if self._physical <= SMALL_MAC else 3 / 4
            return int(self._physical * share), "device"
        limit = min((group.limit for group in groups), default=self._physical)
        return (limit, "cgroup") if limit < self._physical else (self._physical, "physical")


def limited_groups(root: Path, membership: Path = MEMBERSHIP) -> list[ControlGroup]:
    """Return the control groups with limits on this process, its own and their parents, of versions 1 and 2."""
    found = []
    for folder in _folders(root, membership):
        limit = _number(folder / "memory.max") or _number(folder / "memory.limit_in_bytes")
        if limit is not None and limit < UNLIMITED:
            used = _number(folder / "memory.current") or _number(folder / "memory.usage_in_bytes") or 0
            found.append(ControlGroup(limit, max(0, used - _droppable(folder / "memory.stat"))))
    return found


def _folders(root: Path, membership: Path) -> list[Path]:
    """Return the folders of this process's control groups, the narrowest first."""
    try:
        lines = [line.split(":", 2) for line in membership.read_text().splitlines()]
    except OSError:
        lines = []
    found = []
    for line in lines:
        if len(line) == 3 and (line[1] == "" or "memory" in line[1].split(",")):
            top = root / "memory" if line[1] else root
            path = Path(line[2].strip("/"))
            if ".." not in path.parts:
                found += [top / part for part in (path, *path.parents)]
    return list(dict.fromkeys([*found, root, root / "memory"]))


def _number(file: Path) -> int | None:
    try:
        text = file.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _droppable(file: Path) -> int:
    try:
        pairs = [line.split() for line in file.read_text().splitlines()]
    except OSError:
        return 0
    names = ("inactive_file", "active_file")
    figures = {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}
    return sum(figures.get(f"total_{name}", figures.get(name, 0)) for name in names)

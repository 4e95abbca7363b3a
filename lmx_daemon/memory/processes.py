"""The system's counters of one process: private memory, and bytes read. The seam between Linux and macOS for these.

Mapped files are left out, since the system can drop their pages.
"""

import ctypes
import sys
from pathlib import Path
from typing import Any, Protocol

import psutil

from lmx_daemon.memory.budget import ProcessUse

GONE = ProcessUse()
KIB = 1024
HELD = ("RssAnon", "RssShmem", "VmSwap")
"""Fields of /proc/PID/status. They are cheap counters, whereas smaps_rollup visits all pages of the process."""
RUSAGE_INFO_V2 = 2


class Processes(Protocol):
    """Access to the counters of the system."""

    def use(self, pid: int) -> ProcessUse:
        """Return the use of a process; zeros if it has ended."""


class LinuxProcesses:
    """Counters of /proc."""

    def __init__(self, root: Path = Path("/proc")) -> None:
        self._root = root

    def use(self, pid: int) -> ProcessUse:
        status = _fields(self._root / str(pid) / "status")
        found = [status[name] * KIB for name in HELD if name in status]
        if not found:  # some sandboxes do not provide these counters
            return portable_use(pid)
        return ProcessUse(sum(found), _fields(self._root / str(pid) / "io").get("rchar", 0))


class MacProcesses:
    """Counters of proc_pid_rusage, whose physical footprint Activity Monitor and the memory killer use.

    `library` is libSystem as loaded in this process; it is replaced in tests.
    """

    def __init__(self, library: Any = None) -> None:
        self._library = library if library is not None else ctypes.CDLL(None)

    def use(self, pid: int) -> ProcessUse:
        found = RusageInfo()
        if self._library.proc_pid_rusage(pid, RUSAGE_INFO_V2, ctypes.byref(found)) != 0:
            return portable_use(pid)
        return ProcessUse(int(found.phys_footprint), int(found.diskio_bytesread))


class RusageInfo(ctypes.Structure):
    """rusage_info_v2 of macOS's <sys/resource.h>."""

    _fields_ = (
        ("uuid", ctypes.c_uint8 * 16),
        ("user_time", ctypes.c_uint64),
        ("system_time", ctypes.c_uint64),
        ("pkg_idle_wkups", ctypes.c_uint64),
        ("interrupt_wkups", ctypes.c_uint64),
        ("pageins", ctypes.c_uint64),
        ("wired_size", ctypes.c_uint64),
        ("resident_size", ctypes.c_uint64),
        ("phys_footprint", ctypes.c_uint64),
        ("proc_start_abstime", ctypes.c_uint64),
        ("proc_exit_abstime", ctypes.c_uint64),
        ("child_user_time", ctypes.c_uint64),
        ("child_system_time", ctypes.c_uint64),
        ("child_pkg_idle_wkups", ctypes.c_uint64),
        ("child_interrupt_wkups", ctypes.c_uint64),
        ("child_pageins", ctypes.c_uint64),
        ("child_elapsed_abstime", ctypes.c_uint64),
        ("diskio_bytesread", ctypes.c_uint64),
        ("diskio_byteswritten", ctypes.c_uint64),
    )


def portable_use(pid: int) -> ProcessUse:
    """Return the unique set size of psutil, else the resident size, for systems without the counters above."""
    try:
        process = psutil.Process(pid)
        try:
            return ProcessUse(int(process.memory_full_info().uss))
        except psutil.AccessDenied:
            return ProcessUse(int(process.memory_info().rss))
    except psutil.Error:
        return GONE


def system_processes() -> Processes:
    """Return the counters of this system."""
    return MacProcesses() if sys.platform == "darwin" else LinuxProcesses()


def _fields(file: Path) -> dict[str, int]:
    """Return the numbers of a file with lines of the form `name: number`; empty if it is unreadable."""
    try:
        lines = [line.split() for line in file.read_text(errors="replace").splitlines()]
    except OSError:
        return {}
    return {line[0].rstrip(":"): int(line[1]) for line in lines if len(line) > 1 and line[1].isdigit()}

"""Tests of the memory of a process: the counters of Linux, and the faked answers of macOS."""

import ctypes
import mmap
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lmx_daemon.memory.budget import ProcessUse
from lmx_daemon.memory.processes import (
    RUSAGE_INFO_V2,
    LinuxProcesses,
    MacProcesses,
    RusageInfo,
    portable_use,
    system_processes,
)

MB = 1024**2
STATUS = "Name:\tx\nVmRSS:\t 900 kB\nRssAnon:\t 100 kB\nRssFile:\t 780 kB\nRssShmem:\t 20 kB\nVmSwap:\t 3 kB\n"
CHILD = """
import mmap, sys
kind, path = sys.argv[1:]
file = open(path, "rb")
if kind == "mapped":
    view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    sum(view[at] for at in range(0, len(view), 4096))
elif kind == "allocated":
    held = bytearray(64 * 1024**2)
    held[::4096] = b"x" * len(held[::4096])
elif kind == "read":
    while file.read(1 << 16):
        pass
print("ready", flush=True)
input()
"""


def of_child(kind: str, file: Path) -> ProcessUse:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, kind, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None and child.stdout.readline() == b"ready\n"
    found = system_processes().use(child.pid)
    child.communicate(b"\n")
    return found


def test_linux_counts_private_memory(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "status").write_text(STATUS)
    (tmp_path / "7" / "io").write_text("rchar: 5000\nwchar: 1\nread_bytes: 4096\n")
    assert LinuxProcesses(tmp_path).use(7) == ProcessUse(123 * 1024, 5000)
    (tmp_path / "7" / "io").unlink()  # not readable in some sandboxes
    assert LinuxProcesses(tmp_path).use(7) == ProcessUse(123 * 1024, 0)


def test_psutil_is_used_without_kernel_counters(tmp_path: Path) -> None:
    (tmp_path / str(os.getpid())).mkdir()
    (tmp_path / str(os.getpid()) / "status").write_text("Name:\tx\nVmRSS:\t 900 kB\n")
    assert LinuxProcesses(tmp_path).use(os.getpid()).memory > MB
    assert portable_use(2**22 + 1) == ProcessUse()


def test_allocations_count_and_mapped_files_do_not(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"x" * (64 * MB))
    assert mmap.PAGESIZE
    nothing, mapped, allocated = (of_child(kind, file) for kind in ("nothing", "mapped", "allocated"))
    assert abs(mapped.memory - nothing.memory) < 8 * MB
    assert 60 * MB < allocated.memory - nothing.memory < 72 * MB


@pytest.mark.skipif(sys.platform != "linux", reason="macOS counts reads from the disk only")
def test_bytes_read_from_the_page_cache_count(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"x" * (64 * MB))
    assert of_child("read", file).read - of_child("nothing", file).read >= 64 * MB


class FakeLibrary:
    """libSystem's proc_pid_rusage."""

    def __init__(self, footprint: int, read: int, error: int = 0) -> None:
        self.footprint, self.read, self.error = footprint, read, error

    def proc_pid_rusage(self, pid: int, flavor: int, buffer: Any) -> int:
        assert flavor == RUSAGE_INFO_V2
        info = ctypes.cast(buffer, ctypes.POINTER(RusageInfo)).contents
        info.phys_footprint, info.diskio_bytesread = self.footprint, self.read
        return self.error


def test_macos_counts_the_physical_footprint() -> None:
    assert MacProcesses(FakeLibrary(123, 456)).use(7) == ProcessUse(123, 456)
    assert MacProcesses(FakeLibrary(123, 456, error=-1)).use(os.getpid()).memory > MB  # psutil's, then
    assert ctypes.sizeof(RusageInfo) == 16 + 18 * 8  # as in <sys/resource.h>
    assert RusageInfo.phys_footprint.offset == 72 and RusageInfo.diskio_bytesread.offset == 144

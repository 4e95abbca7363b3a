"""Tests of memory pressure: the figures of Linux, and the faked answer of macOS."""

import ctypes
from pathlib import Path
from typing import Any

import pytest

from lmx_daemon.memory.budget import MemoryBudget, Pressure, ProcessUse
from lmx_daemon.memory.host import Host
from lmx_daemon.memory.pressure import MAC_LEVEL, Stalls, linux_pressure, mac_pressure, read_stalls
from lmx_daemon.settings.values.memory_limit import MemoryLimit


@pytest.mark.parametrize(
    ("available", "stalls", "expected"),
    [
        (50, Stalls(90.0, 90.0), "normal"),  # a large file is read: memory is there
        (8, Stalls(0.0, 0.0), "normal"),
        (8, Stalls(6.0, 0.0), "warning"),
        (8, None, "warning"),
        (4, Stalls(6.0, 1.0), "warning"),
        (4, Stalls(40.0, 20.0), "critical"),
        (4, None, "critical"),
    ],
)
def test_pressure_on_linux_requires_little_memory_and_stalls(
    available: int, stalls: Stalls | None, expected: Pressure
) -> None:
    assert linux_pressure(available, 100, stalls) == expected


def test_stall_times_of_the_kernel_are_read(tmp_path: Path) -> None:
    file = tmp_path / "memory"
    assert read_stalls(file) is None
    file.write_text("some avg10=1.50 avg60=0.00 avg300=0.00 total=9\nfull avg10=0.25 avg60=0 avg300=0 total=1\n")
    assert read_stalls(file) == Stalls(1.5, 0.25)
    file.write_text("nonsense\n")
    assert read_stalls(file) is None


class FakeLibrary:
    """libSystem's sysctlbyname."""

    def __init__(self, level: int, error: int = 0) -> None:
        self.level, self.error = level, error

    def sysctlbyname(self, name: bytes, old: Any, size: Any, new: None, length: Any) -> int:
        assert name == MAC_LEVEL and ctypes.cast(size, ctypes.POINTER(ctypes.c_size_t)).contents.value == 4
        ctypes.cast(old, ctypes.POINTER(ctypes.c_int)).contents.value = self.level
        return self.error


@pytest.mark.parametrize(("level", "expected"), [(1, "normal"), (2, "warning"), (4, "critical"), (77, "normal")])
def test_the_level_of_macos_is_used(level: int, expected: Pressure) -> None:
    assert mac_pressure(FakeLibrary(level)) == expected
    assert mac_pressure(FakeLibrary(level, error=-1)) == "normal"


class NoProcesses:
    def use(self, pid: int) -> ProcessUse:
        return ProcessUse()


def room(setting: str, system: str, device: int | None, pressure: Pressure = "normal") -> MemoryBudget:
    host = Host(
        lambda: MemoryLimit(setting), processes=NoProcesses(), pressure=lambda available, total: pressure, system=system
    )
    host.device_memory = device
    return host.room()


def test_available_memory_limits_a_mac_unless_the_setting_is_an_amount() -> None:
    assert room("auto", "darwin", 10**10).available is not None
    assert room("5 GB", "darwin", 10**10).available is None
    assert room("auto", "linux", 10**10).available is None  # a GPU with memory of its own
    assert room("5 GB", "linux", None).available is not None
    assert room("5 GB", "darwin", 10**10, "critical").pressure == "critical"

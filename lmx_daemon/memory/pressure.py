"""Memory pressure of the system: the kernel's level on macOS, stall times and available memory on Linux."""

import ctypes
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmx_daemon.memory.budget import Pressure

MAC_LEVEL = b"kern.memorystatus_vm_pressure_level"
MAC_LEVELS: dict[int, Pressure] = {1: "normal", 2: "warning", 4: "critical"}
"""Levels of <dispatch/source.h>: DISPATCH_MEMORYPRESSURE_NORMAL, _WARN and _CRITICAL."""
LITTLE, LEAST = 0.10, 0.05
"""Available fractions of all memory. Above them there is no pressure, since stalls come from reading files."""
SOME_STALLED, ALL_STALLED = 5.0, 10.0
"""Percentages of the last ten seconds in which some or all tasks waited for memory."""


@dataclass(frozen=True)
class Stalls:
    """Averages over ten seconds of /proc/pressure/memory in percent."""

    some: float
    full: float


def linux_pressure(available: int, total: int, stalls: Stalls | None) -> Pressure:
    """Return the pressure. Without stall times it depends on the available memory only."""
    share = available / total if total else 1.0
    if share < LEAST and (stalls is None or stalls.full >= ALL_STALLED):
        return "critical"
    if share < LITTLE and (stalls is None or stalls.some >= SOME_STALLED):
        return "warning"
    return "normal"


def read_stalls(file: Path = Path("/proc/pressure/memory")) -> Stalls | None:
    """Return the stall times, or None if the kernel does not provide them or a container may not read them."""
    try:
        text = file.read_text()
    except OSError:
        return None
    found = {kind: float(value) for kind, value in re.findall(r"^(some|full) avg10=([0-9.]+)", text, re.MULTILINE)}
    return Stalls(found["some"], found["full"]) if len(found) == 2 else None


def mac_pressure(library: Any) -> Pressure:
    """Return the kernel's level, "normal" if it is unreadable. `library` has the function sysctlbyname of libSystem."""
    level, size = ctypes.c_int(0), ctypes.c_size_t(ctypes.sizeof(ctypes.c_int))
    if library.sysctlbyname(MAC_LEVEL, ctypes.byref(level), ctypes.byref(size), None, ctypes.c_size_t(0)) != 0:
        return "normal"
    return MAC_LEVELS.get(level.value, "normal")


def system_pressure(available: int, total: int) -> Pressure:
    """Return the pressure on this system."""
    if sys.platform == "darwin":
        return mac_pressure(ctypes.CDLL(None))
    return linux_pressure(available, total, read_stalls())

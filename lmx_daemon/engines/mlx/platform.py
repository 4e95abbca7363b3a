"""The one place that knows where MLX runs: Metal, CUDA or a CPU, and what differs there."""

import contextlib
import sys
from typing import Any

import mlx.core as mx

from lmx_daemon.memory.need import buffer_bytes


def on_cpu() -> bool:
    return bool(mx.default_device() == mx.Device(mx.DeviceType.cpu))


def describe() -> str:
    """Where MLX computes and with what: "metal, Apple M3 Max", "cuda, ...", "cpu, OpenBLAS"."""
    if on_cpu():
        if sys.platform != "linux":
            return "cpu"
        with contextlib.suppress(OSError), open("/proc/self/maps") as maps:  # some sandboxes hide it
            if any("libopenblas" in line for line in maps):
                return "cpu, OpenBLAS"
        return "cpu, reference BLAS (slow; install OpenBLAS: apt install libopenblas0-pthread)"
    kind = "metal" if mx.metal.is_available() else "cuda"
    return f"{kind}, {mx.device_info().get('device_name', 'unknown device')}"


def device_memory() -> int:
    """Bytes that a GPU recommends to use at most; 0 on a CPU, or where it does not say."""
    if on_cpu():
        return 0
    info: dict[str, Any] = mx.device_info()
    names = ("max_recommended_working_set_size", "total_memory", "memory_size")
    return next((int(info[name]) for name in names if isinstance(info.get(name), int)), 0)


def bound_caches(weights: int) -> None:
    """Of freed buffers MLX keeps so many on a GPU; without a bound the count of live Metal buffers grows until it
    aborts."""
    if not on_cpu():
        mx.set_cache_limit(buffer_bytes(weights))


def wire(setting: str, weights: int) -> str:
    """Applies the wired-memory setting on a Mac, and says what was done; "" elsewhere.

    "auto" wires only models above half of the recommended working set: wiring is what kernel panics were traced to
    (ml-explore/mlx#3186), and what very large models need to stay fast.
    """
    if not mx.metal.is_available() or setting == "off":
        return ""
    info: dict[str, Any] = mx.device_info()
    recommended = int(info.get("max_recommended_working_set_size", 0))
    if setting == "auto":
        if not recommended or weights <= recommended // 2:
            return ""
        limit = recommended
    else:
        limit = min(int(setting), recommended)
    mx.set_wired_limit(limit)
    return f"{limit} bytes wired"


def release() -> None:
    """Wait for the GPU and give memory back before the process ends: freed buffers, and on a Mac wired memory."""
    mx.synchronize()
    mx.clear_cache()
    if mx.metal.is_available():
        mx.set_wired_limit(0)

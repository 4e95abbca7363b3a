"""The device that MLX computes on: the choice of its backend, and what only a Mac has (wired memory)."""

from typing import Any

import mlx.core as mx

from lmx_daemon.engines.mlx.backend import Backend
from lmx_daemon.engines.mlx.cpu.cpu_backend import CpuBackend


def on_cpu() -> bool:
    """Return whether MLX computes on a CPU."""
    return bool(mx.default_device() == mx.Device(mx.DeviceType.cpu))


def backend() -> Backend:
    """Return the backend of MLX's default device. No other function distinguishes a CPU from a GPU."""
    return CpuBackend() if on_cpu() else Backend()


def wire(setting: str, weights: int) -> str:
    """Apply the wired-memory setting on a Mac, and return what was done, in words; "" elsewhere.

    "auto" wires only models above half of the recommended working set. Kernel panics were traced to wiring
    (ml-explore/mlx#3186), but very large models need it to stay fast.
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
    """Wait for the GPU, then return freed buffers and, on a Mac, wired memory before the process ends."""
    mx.synchronize()
    mx.clear_cache()
    if mx.metal.is_available():
        mx.set_wired_limit(0)

"""What the engine leaves to the device. A GPU (Metal or CUDA) needs nothing special: these are the defaults.

cpu/cpu_backend.py replaces them for a CPU, and platform.py chooses, so that the path of a GPU can be read without cpu/.
"""

from collections.abc import Callable, Mapping
from typing import Any

import mlx.core as mx

from lmx_daemon.memory.need import buffer_bytes

MEMORY_NAMES = ("max_recommended_working_set_size", "total_memory", "memory_size")
"""Names under which MLX reports the memory of a device, the best figure first."""


class Backend:
    """The GPU's ways."""

    replacements: Mapping[str, Callable[..., Any]] = {}
    """Functions that mlx-lm's models call by name, with what is called instead; see patches.py."""
    samples_on_host = False
    """Whether numpy samples tokens instead of MLX."""
    blocks_when_queued = False
    """Whether MLX blocks the caller once some hundred operations are queued."""

    def describe(self) -> str:
        """Return the backend and its device: "metal, Apple M3 Max"."""
        kind = "metal" if mx.metal.is_available() else "cuda"
        return f"{kind}, {mx.device_info().get('device_name', 'unknown device')}"

    def device_memory(self) -> int:
        """Return the bytes that the device recommends to use at most; 0 if it reports none."""
        info: dict[str, Any] = mx.device_info()
        return next((int(info[name]) for name in MEMORY_NAMES if isinstance(info.get(name), int)), 0)

    def bound_caches(self, weights: int) -> None:
        """Bound the freed buffers that MLX keeps: without it, live Metal buffers grow in number until it aborts."""
        mx.set_cache_limit(buffer_bytes(weights))

    def cast(self, model: Any, dtype: str) -> tuple[str, str]:
        """Cast the model's weights if the device needs it. Return a note for the user, and the type they have then."""
        return "", dtype

    def is_lazy(self, trial: Callable[[], bool]) -> bool:
        """Return whether a call of the model only builds its graph; `trial` finds out by calling it."""
        return True

"""Behaviour on a CPU, where MLX is slow at exponentials, at sorting and at 16-bit floats."""

import contextlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt
from mlx.utils import tree_flatten, tree_unflatten

from lmx_daemon.engines.mlx.backend import Backend
from lmx_daemon.engines.mlx.cpu import eager_functions
from lmx_daemon.engines.mlx.cpu.host_masks import HostMasks
from lmx_daemon.engines.mlx.cpu.noise import Noise

SLOW = {"bfloat16": mx.bfloat16, "float16": mx.float16}
"""Types that are up to nine times as slow as float32."""


class CpuBackend(Backend):
    """MLX on a CPU, helped by numpy."""

    replacements = {
        "scaled_dot_product_attention": eager_functions.attention,
        "swiglu": eager_functions.swiglu,
    }
    samples_on_host = True
    blocks_when_queued = True

    def describe(self) -> str:
        """Return the backend and its BLAS: "cpu, OpenBLAS"."""
        if sys.platform != "linux":
            return "cpu"
        with contextlib.suppress(OSError), open("/proc/self/maps") as maps:  # some sandboxes hide it
            if any("libopenblas" in line for line in maps):
                return "cpu, OpenBLAS"
        return "cpu, reference BLAS (slow; install OpenBLAS: apt install libopenblas0-pthread)"

    def device_memory(self) -> int:
        """Return 0: the memory is the host's."""
        return 0

    def bound_caches(self, weights: int) -> None:
        """Leave MLX's own bound."""

    def cast(self, model: Any, dtype: str) -> tuple[str, str]:
        """Cast bfloat16 and float16 weights to float32."""
        parameters = tree_flatten(model.parameters())
        slow = SLOW.values()
        if not any(value.dtype in slow for _, value in parameters):
            return "", dtype
        cast = [(name, value.astype(mx.float32) if value.dtype in slow else value) for name, value in parameters]
        model.update(tree_unflatten(cast))
        return f"{dtype} cast to float32 for the CPU", "float32"

    def is_lazy(self, trial: Callable[[], bool]) -> bool:
        """Return the trial's result: here tokens are written into a step's inputs after its graph has been built."""
        return trial()

    def noise(self, starts: npt.NDArray[np.uint64], temperatures: Sequence[float], vocabulary: int) -> Noise:
        """Return the source of noise, which numpy computes while MLX computes a step."""
        return Noise(starts, temperatures, vocabulary)

    def masks(self, rows: Sequence[int], count: int, vocabulary: int) -> HostMasks:
        """Return the source of masks, which numpy applies."""
        return HostMasks(rows, count, vocabulary)

"""Behaviour of the engine that depends on the device, with the defaults of a GPU (Metal or CUDA).

cpu/cpu_backend.py replaces them for a CPU, and platform.py chooses, so that the path of a GPU can be read without cpu/.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from lmx_daemon.engines.mlx.arrays import FloatArray
from lmx_daemon.memory.need import buffer_bytes

MEMORY_NAMES = ("max_recommended_working_set_size", "total_memory", "memory_size")
"""Names under which MLX reports the memory of a device, the best figure first."""
BITS_OF_BYTES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
MASK_BYTES: FloatArray = np.where(BITS_OF_BYTES, np.float32(0), np.float32(-np.inf))
"""The mask of eight tokens for each byte [256, 8]."""


class NoiseSource(Protocol):
    """Source of the noise that samples rows without filters on the host."""

    def at(self, positions: Sequence[int]) -> FloatArray:
        """Return the noise [rows, vocabulary] of the rows at their positions."""

    def ahead(self) -> None:
        """Compute the noise of the next positions."""


class MaskSource(Protocol):
    """Masks of tokens for the logits of a fixed list of rows."""

    def apply(self, logits: mx.array, bits: npt.NDArray[np.uint32]) -> mx.array:
        """Return `logits` [rows, vocabulary] with minus infinity for tokens without a bit. The input is left as it is.

        `bits` [rows, words] has one bit for each token. The result is valid until the next call.
        """


class Masks:
    """Masks that MLX unpacks, so that only the bits are copied to the device."""

    def __init__(self, vocabulary: int) -> None:
        self._vocabulary = vocabulary
        self._values = mx.array(MASK_BYTES)

    def apply(self, logits: mx.array, bits: npt.NDArray[np.uint32]) -> mx.array:
        """Return the masked logits; see MaskSource."""
        unpacked = self._values[mx.array(bits.view(np.uint8))].reshape(len(bits), -1)[:, : self._vocabulary]
        return logits + unpacked.astype(logits.dtype)


class Backend:
    """Behaviour on a GPU."""

    replacements: Mapping[str, Callable[..., Any]] = {}
    """Replacements of functions that mlx-lm's models call, by name; see patches.py."""
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

    def noise(
        self, starts: npt.NDArray[np.uint64], temperatures: Sequence[float], vocabulary: int
    ) -> NoiseSource | None:
        """Return the source of noise for rows with these random streams and temperatures; None if MLX samples them."""
        return None

    def masks(self, rows: Sequence[int], count: int, vocabulary: int) -> MaskSource:
        """Return the source of masks for `count` rows, of which only `rows` have a limit."""
        return Masks(vocabulary)

"""Gumbel noise computed by numpy, ahead of the step that uses it, for sampling without filters on a CPU."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lmx_daemon.engines.mlx.arrays import FloatArray
from lmx_daemon.engines.mlx.sampling.splitmix import STRIDE, finalise, mix

LOG_2 = np.float32(np.log(2.0))
ONE = np.uint32(0x3F800000)
"""Bits of 1.0; 23 random bits beside them make a float in [1, 2)."""
BELOW_ONE = np.float32(1.0 - 2.0**-24)
"""Subtrahend that maps the float to the open interval (0, 1). At its ends, the noise would be infinite."""


class Noise:
    """Gumbel noise, up to a constant shift, multiplied by each row's temperature.

    The token with the highest sum of logit and noise is a sample from the softmax of the logits (Maddison et al., A*
    sampling, 2014). The noise of the next position is computed while MLX runs a step,
    so that MLX does not wait for numpy.
    """

    def __init__(self, starts: npt.NDArray[np.uint64], temperatures: Sequence[float], vocabulary: int) -> None:
        self._starts = starts
        alike = len(set(temperatures)) == 1
        self._factors = np.array(temperatures[:1] if alike else temperatures, np.float32)[:, None] * -LOG_2
        counted = np.arange(1, vocabulary // 2 + 2, dtype=np.uint64) * np.uint64(STRIDE)
        self._counted = np.tile(counted, (len(starts), 1))
        # These arrays are reused: fresh memory costs more than the arithmetic.
        self._pairs, self._shifted = np.empty((2, *self._counted.shape), np.uint64)
        self._bits = self._pairs.view(np.uint32)[:, :vocabulary]
        self._values: FloatArray = self._pairs.view(np.float32)[:, :vocabulary]
        self._made: list[int] = []

    def at(self, positions: Sequence[int]) -> FloatArray:
        """Return the noise [rows, vocabulary] at each row's position. It is valid until the next call."""
        if self._made != positions:
            self._make(list(positions))
        return self._values

    def ahead(self) -> None:
        """Compute the noise of the next position of each row."""
        self._make([position + 1 for position in self._made])

    def _make(self, positions: list[int]) -> None:
        """Compute the noise of all rows in few numpy calls, which are the extra cost of a sampled step."""
        keys = mix(self._starts + np.array(positions, np.uint64) * np.uint64(STRIDE))
        np.add(self._counted, keys[:, None], out=self._pairs)
        finalise(self._pairs, self._shifted)
        self._bits >>= np.uint32(9)
        self._bits |= ONE
        values = self._values
        values -= BELOW_ONE
        np.log2(values, out=values)
        np.negative(values, out=values)
        np.log2(values, out=values)
        values *= self._factors
        self._made = positions

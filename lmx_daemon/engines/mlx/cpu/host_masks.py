"""Masks of tokens applied by numpy: MLX on a CPU takes several times as long."""

from collections.abc import Sequence

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from lmx_daemon.engines.mlx.arrays import FloatArray
from lmx_daemon.engines.mlx.backend import MASK_BYTES

WORD = 32
"""Tokens of a word of a mask."""
FEW = 4
"""Divisor of the words of a mask, up to which allowing words are applied one by one."""


class HostMasks:
    """Masked logits in one array of MLX that numpy changes in place.

    A step with masks begins after the tokens of the previous one are read: MLX does not use the array meanwhile.
    """

    def __init__(self, rows: Sequence[int], count: int, vocabulary: int) -> None:
        self._masked = mx.zeros((count, vocabulary))
        mx.eval(self._masked)
        self._whole = vocabulary // WORD
        """Number of words all of whose bits are tokens."""
        self._values: FloatArray = np.array(self._masked, copy=False)
        self._scratch = np.zeros((4 * self._whole, 8), np.float32)
        self._finite: dict[int, npt.NDArray[np.intp] | None] = dict.fromkeys(rows)
        """The rows that have a limit, and their words that are not minus infinity; None for many."""

    def apply(self, logits: mx.array, bits: npt.NDArray[np.uint32]) -> mx.array:
        """Wait for the logits, and return them masked as float32; see MaskSource."""
        source: FloatArray = np.array(logits.astype(mx.float32), copy=False)
        for row, values in enumerate(self._values):
            if row in self._finite:
                self._finite[row] = self._mask(source[row], bits[row], values, self._finite[row])
            else:
                values[:] = source[row]
        return self._masked

    def _mask(
        self, source: FloatArray, words: npt.NDArray[np.uint32], values: FloatArray, finite: npt.NDArray[np.intp] | None
    ) -> npt.NDArray[np.intp] | None:
        """Write the masked logits of one row. Return its finite words, or None for many.

        A mask allows nearly all tokens inside a text. Elsewhere it allows a few: then only their words and the previous
        ones change.
        """
        end = self._whole * WORD
        if len(values) > end:
            rest = MASK_BYTES[words[self._whole :].view(np.uint8)].reshape(-1)[: len(values) - end]
            np.add(source[end:], rest, out=values[end:])
        words = words[: self._whole]
        cells, given = values[:end].reshape(-1, WORD), source[:end].reshape(-1, WORD)
        allowing = np.flatnonzero(words != 0)
        if len(allowing) * FEW > len(words):
            np.take(MASK_BYTES, words.view(np.uint8), axis=0, out=self._scratch, mode="clip")
            np.add(given, self._scratch.reshape(-1, WORD), out=cells)
            return None
        cells[slice(None) if finite is None else finite] = -np.inf
        cells[allowing] = given[allowing] + MASK_BYTES[words[allowing].view(np.uint8)].reshape(-1, WORD)
        return allowing

"""Masks of tokens unpacked by numpy: a look-up by MLX on a CPU takes eight times as long, and delays the step."""

from collections.abc import Sequence

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from lmx_daemon.engines.mlx.arrays import FloatArray
from lmx_daemon.engines.mlx.backend import MASK_BYTES

FEW = 4
"""Divisor of the bytes of a mask, up to which changed bytes are written one by one."""


class HostMasks:
    """Masks in one array of MLX that numpy changes in place.

    Consecutive masks of a row are similar, inside a string for example, so that only changed bytes are unpacked. A step
    with masks begins after the tokens of the previous one are read, so that MLX does not use the array meanwhile.
    """

    def __init__(self, rows: Sequence[int], count: int, vocabulary: int) -> None:
        self._rows = rows
        self._masks = mx.zeros((count, vocabulary))
        mx.eval(self._masks)
        values: FloatArray = np.array(self._masks, copy=False)
        whole = vocabulary // 8
        self._cells = [row[: 8 * whole].reshape(whole, 8) for row in values]
        """The tokens of each row by the bytes of its mask."""
        self._rest = values[:, 8 * whole :]
        """Tokens of the last, incomplete byte."""
        self._octets = np.full((count, whole), 0xFF, np.uint8)
        """The bytes that are unpacked."""

    def of(self, bits: npt.NDArray[np.uint32]) -> mx.array:
        """Return the masks; see MaskSource. Rows without a limit are left as they are."""
        for row in self._rows:
            octets, known = bits[row].view(np.uint8), self._octets[row]
            self._unpack(octets[: len(known)], known, self._cells[row])
            if self._rest.size:
                self._rest[row] = MASK_BYTES[octets[len(known)]][: self._rest.shape[1]]
        return self._masks

    @staticmethod
    def _unpack(octets: npt.NDArray[np.uint8], known: npt.NDArray[np.uint8], cells: FloatArray) -> None:
        """Unpack those `octets` that differ from `known`, and make them known."""
        changed = np.flatnonzero(octets != known)
        if len(changed) * FEW <= len(octets):
            cells[changed] = MASK_BYTES[octets[changed]]
        else:
            np.take(MASK_BYTES, octets, axis=0, out=cells, mode="clip")
        known[:] = octets

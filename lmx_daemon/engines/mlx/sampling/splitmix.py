"""SplitMix64 on arrays: every bit of the input changes every bit of the output (Steele et al., 2014)."""

import numpy as np
import numpy.typing as npt

STRIDE = 0x9E3779B97F4A7C15
"""Distance between successive states."""
ROUNDS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
"""Shift and factor of each round of the finaliser; a last shift of 31 follows."""


def mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return the random numbers of the states `values`."""
    values = values + np.uint64(STRIDE)
    finalise(values, np.empty_like(values))
    return values


def finalise(values: npt.NDArray[np.uint64], scratch: npt.NDArray[np.uint64]) -> None:
    """Apply the finaliser in place; `scratch` is overwritten and has the shape of `values`."""
    for shift, factor in ROUNDS:
        np.right_shift(values, np.uint64(shift), out=scratch)
        values ^= scratch
        values *= np.uint64(factor)
    np.right_shift(values, np.uint64(31), out=scratch)
    values ^= scratch

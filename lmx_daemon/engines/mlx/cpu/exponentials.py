"""Exponentials by numpy for a CPU: MLX takes 12 ns for one there, numpy less than 1 ns.

The functions compute at once, so that they are only called for known tokens (see patches.py). float32 only.
"""

from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from lmx_daemon.engines.mlx.arrays import FloatArray

LEAST = 16_384
"""Number of exponentials below which MLX is used, since numpy has to wait for its inputs."""
CHUNK = 65_536
"""Number of scores that stay in a processor's second-level cache from the first pass to the last."""
LOWEST = np.finfo(np.float32).min
"""Score of a hidden position, as in MLX: with minus infinity, a row that is all hidden would become NaN."""


def can_attend(queries: Any, keys: Any, values: Any, mask: Any) -> bool:
    """Return whether `attend` supports these arguments of scaled_dot_product_attention, and is faster for them."""
    if not all(isinstance(array, mx.array) and array.dtype == mx.float32 for array in (queries, keys, values)):
        return False
    rows, heads, length, _ = queries.shape
    if heads % keys.shape[1] or rows * heads * length * keys.shape[2] < LEAST:
        return False
    if isinstance(mask, mx.array):
        return bool(mask.dtype == mx.bool_ and mask.ndim == 2)
    return mask is None or mask == "causal"


def attend(queries: mx.array, keys: mx.array, values: mx.array, scale: float, mask: Any) -> mx.array:
    """Return the attention [rows, heads, length, width].

    `queries` is [rows, heads, length, width], `keys` and `values` are [rows, key heads, tokens, width], `mask` is None,
    "causal" or [length, tokens].
    """
    rows, heads, length, width = queries.shape
    shared = heads // keys.shape[1]
    scores = (queries * scale).reshape(rows, keys.shape[1], shared * length, width) @ keys.swapaxes(-1, -2)
    mx.eval(scores)
    # In place: no other reference exists, and no array of a prompt piece is larger.
    seen = np.array(scores, copy=False).reshape(rows * heads, length, keys.shape[2])
    if isinstance(mask, mx.array):
        totals = _exponentials(seen, hidden=~np.asarray(mask))
    else:
        totals = _exponentials(seen, causal=mask is not None)
    found = (scores @ values).reshape(rows, heads, length, values.shape[3])
    return found / mx.array(totals.reshape(rows, heads, length, 1))


def can_gate(gate: mx.array, x: mx.array) -> bool:
    """Return whether `gate` supports these arguments, and is faster for them."""
    return bool(gate.dtype == x.dtype == mx.float32 and gate.shape == x.shape and gate.size >= LEAST)


def gate(gate: mx.array, x: mx.array) -> mx.array:
    """Return SwiGLU: silu(gate) * x."""
    mx.eval(gate, x)
    taken = np.asarray(gate)
    found = np.empty_like(taken)
    with np.errstate(over="ignore"):  # of exp(-gate): the quotient is then 0, which is right
        np.exp(-taken, out=found)
    found += 1.0
    np.divide(taken, found, out=found)
    found *= np.asarray(x)
    return mx.array(found)


def _exponentials(
    scores: FloatArray, *, causal: bool = False, hidden: npt.NDArray[np.bool_] | None = None
) -> FloatArray:
    """Replace `scores` [heads, length, tokens] by their exponentials, and return the sums [heads, length].

    The highest of each row becomes 1, hidden ones become 0.
    """
    heads, length, tokens = scores.shape
    totals = np.empty((heads, length), np.float32)
    rows = min(length, max(1, CHUNK // tokens))
    together = max(1, CHUNK // (rows * tokens))
    later = np.triu(np.ones((rows, rows), np.bool_), 1)
    for row in range(0, length, rows):
        end = min(row + rows, length)
        known = tokens - length + end if causal else tokens
        scores[:, row:end, known:] = 0.0
        for head in range(0, heads, together):
            part = scores[head : head + together, row:end, :known]
            if causal:
                np.copyto(part[:, :, known - end + row :], LOWEST, where=later[: end - row, : end - row])
            elif hidden is not None:
                np.copyto(part, LOWEST, where=hidden[row:end])
            part -= part.max(axis=-1, keepdims=True)
            np.exp(part, out=part)
            totals[head : head + together, row:end] = part.sum(axis=-1)
    return totals

"""Attention and SwiGLU that numpy computes in prompt pieces; in any other call they are the usual ones."""

from typing import Any

import mlx.core as mx
from mlx_lm.models import activations

from lmx_daemon.engines.mlx import patches
from lmx_daemon.engines.mlx.cpu import exponentials


def attention(
    queries: mx.array, keys: Any, values: Any, cache: Any, scale: float, mask: Any, sinks: Any = None
) -> mx.array:
    """Return the attention; parameters as of mlx-lm's scaled_dot_product_attention."""
    if (
        patches.inputs_known()
        and sinks is None
        and not hasattr(cache, "bits")
        and exponentials.can_attend(queries, keys, values, mask)
    ):
        return exponentials.attend(queries, keys, values, scale, mask)
    return patches.attention(queries, keys, values, cache, scale, mask, sinks)


def swiglu(gate: mx.array, x: mx.array) -> mx.array:
    """Return silu(gate) * x."""
    if patches.inputs_known() and exponentials.can_gate(gate, x):
        return exponentials.gate(gate, x)
    found: mx.array = activations.swiglu(gate, x)
    return found

"""Functions that mlx-lm's models call by name, replaced by the engine's: grouped attention, and the backend's own.

An argument that a replacement does not support goes to mlx-lm's function.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import mlx.core as mx
from mlx_lm.models import activations, base

_INPUTS_KNOWN: ContextVar[bool] = ContextVar("inputs_known", default=False)


@contextlib.contextmanager
def known_inputs() -> Iterator[None]:
    """Mark calls of the model whose input tokens are known, so that layers may be computed while the graph is built.

    The tokens of a decode step may still be under way when its graph is built.
    """
    token = _INPUTS_KNOWN.set(True)
    try:
        yield
    finally:
        _INPUTS_KNOWN.reset(token)


def inputs_known() -> bool:
    """Return whether the model is called within `known_inputs`."""
    return _INPUTS_KNOWN.get()


def install(replacements: Mapping[str, Callable[..., Any]]) -> None:
    """Replace mlx-lm's functions in its models that are imported by now, by grouped attention and `replacements`.

    Idempotent.
    """
    originals = {
        "scaled_dot_product_attention": base.scaled_dot_product_attention,
        "swiglu": activations.swiglu,
    }
    functions = {"scaled_dot_product_attention": attention, **replacements}
    imported = sys.modules.copy()  # one step: other threads import modules meanwhile
    for module in [module for name, module in imported.items() if name.startswith("mlx_lm.models.")]:
        for name, function in functions.items():
            if module not in (base, activations) and getattr(module, name, None) is originals[name]:
                setattr(module, name, function)


def attention(
    queries: mx.array, keys: Any, values: Any, cache: Any, scale: float, mask: Any, sinks: Any = None
) -> mx.array:
    """Return mlx-lm's attention, computed group by group if the cache returned keys for several groups."""
    if isinstance(keys, list):
        parts = zip(split(queries, [part.shape[0] for part in keys]), keys, values, mask, strict=True)
        return mx.concatenate([attention(q, k, v, None, scale, own_mask, sinks) for q, k, v, own_mask in parts])
    found: mx.array = base.scaled_dot_product_attention(queries, keys, values, cache, scale, mask, sinks)
    return found


def split(array: mx.array, rows: Sequence[int]) -> list[mx.array]:
    """Return `array` in parts of so many rows each."""
    edges, found = 0, []
    for count in rows:
        found.append(array[edges : edges + count])
        edges += count
    return found

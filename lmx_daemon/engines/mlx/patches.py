"""What mlx-lm's models call by name, with ours in its place: attention group by group where a cache holds groups of
rows, and on a CPU numpy's exponential in a prompt's pieces.

Whatever is not known here goes to mlx-lm's own.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import mlx.core as mx
from mlx_lm.models import activations, base

from lmx_daemon.engines.mlx import platform
from lmx_daemon.engines.mlx.cpu import exponentials as host

_EAGER: ContextVar[bool] = ContextVar("eager", default=False)


@contextlib.contextmanager
def eager() -> Iterator[None]:
    """The tokens of the model's calls in here are known, so that layers may be computed while the graph is built. A
    decode step's may still be under way."""
    token = _EAGER.set(True)
    try:
        yield
    finally:
        _EAGER.reset(token)


def install() -> None:
    """Idempotent. For the models of mlx-lm that are imported by now."""
    ours: dict[str, tuple[Any, Callable[..., Any]]] = {
        "scaled_dot_product_attention": (base.scaled_dot_product_attention, attention)
    }
    if platform.on_cpu():
        ours["scaled_dot_product_attention"] = base.scaled_dot_product_attention, attention_on_cpu
        ours["swiglu"] = activations.swiglu, swiglu_on_cpu
    for module in [module for name, module in list(sys.modules.items()) if name.startswith("mlx_lm.models.")]:
        for name, (theirs, own) in ours.items():
            if module not in (base, activations) and getattr(module, name, None) is theirs:
                setattr(module, name, own)


def attention(
    queries: mx.array, keys: Any, values: Any, cache: Any, scale: float, mask: Any, sinks: Any = None
) -> mx.array:
    """mlx-lm's own, and group by group where the cache holds groups."""
    if isinstance(keys, list):
        parts = zip(split(queries, [part.shape[0] for part in keys]), keys, values, mask, strict=True)
        return mx.concatenate([attention(q, k, v, None, scale, own_mask, sinks) for q, k, v, own_mask in parts])
    found: mx.array = base.scaled_dot_product_attention(queries, keys, values, cache, scale, mask, sinks)
    return found


def attention_on_cpu(
    queries: mx.array, keys: Any, values: Any, cache: Any, scale: float, mask: Any, sinks: Any = None
) -> mx.array:
    if _EAGER.get() and sinks is None and not hasattr(cache, "bits") and host.can_attend(queries, keys, values, mask):
        return host.attend(queries, keys, values, scale, mask)
    return attention(queries, keys, values, cache, scale, mask, sinks)


def swiglu_on_cpu(gate: mx.array, x: mx.array) -> mx.array:
    if _EAGER.get() and host.can_gate(gate, x):
        return host.gate(gate, x)
    found: mx.array = activations.swiglu(gate, x)
    return found


def split(array: mx.array, rows: Sequence[int]) -> list[mx.array]:
    """`array`, by so many of its rows at a time."""
    edges, found = 0, []
    for count in rows:
        found.append(array[edges : edges + count])
        edges += count
    return found

"""What a model needs: weights, keys and values at a context, scratch; each figure says how it is known. Pure.

Used before a load to decide, in the worker to admit prompts, and in the library to say what fits.
"""

import msgspec

from lmx_daemon.contract.frames import Basis, CacheShape, Growing
from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.contract.types import Figure, MemoryPlan
from lmx_daemon.memory.architectures import cache_shape
from lmx_daemon.memory.shape import HALVES, ModelShape

PROCESS_BYTES = 300 * 1024**2
"""A worker without its model: Python, MLX, the tokenizer."""
LEAST_PROCESS_BYTES = 50 * 1024**2
LEAST_CONTEXT = 4096
"""Where nobody asked for a context, a model with less room than this is not worth loading."""
UNKNOWN_CONTEXT = 32_768
"""For models whose files name no limit."""
UNKNOWN_PER_TOKEN = 128 * 1024
"""Bytes, for an architecture that cannot be read: what a model of eight billion parameters keeps."""
CONVERTED = 4
"""Largest growth of weights whose type is converted while they load: float8 on disk, float32 on a CPU."""
MARGIN_SHARE, MARGIN_BYTES = 0.25, 1024**3
"""What a process may hold above its plan and its granted cache.

Measured on Linux with models of 0.4 to 624 MB of weights (float32, bfloat16, a mixture of experts, a vocabulary of
150,000 tokens) under 32 streams, prompts of up to 30,000 tokens, a text of 1 MB and stored prefixes: at most 72 MB
above the plan. The rest is for larger tokenizers, and the share for fragmentation, which grows with the model. A
tokenizer or config that runs away takes gigabytes."""
LEAST_BUFFERS, MOST_BUFFERS = 128 * 1024**2, 2 * 1024**3


class Measured(Frozen, frozen=True):
    """What a load told of a model, on this machine."""

    weights: int
    process: int
    """The worker's memory beyond MLX's own."""
    cache: CacheShape | None = None


class Demand(Frozen, frozen=True):
    """What is asked of a model. None leaves it to the model and to what fits."""

    context: int | None = None
    slots: int | None = None


class Device(Frozen, frozen=True):
    """What the figures depend on besides the model."""

    cpu: bool = True
    """Half precision is computed, and kept, in 32 bits there."""
    prefill_step: int = 512


def plan_for(shape: ModelShape, demand: Demand, device: Device, measured: Measured | None = None) -> MemoryPlan:
    """The least with which the model is worth loading: what was asked, or one sequence of a modest context."""
    context = planned_context(shape, demand)
    slots = demand.slots or 1
    cache = cache_of(shape, device, measured)
    return MemoryPlan(
        weights=weights_of(shape, device, measured),
        cache=Figure(bytes=slots * cache.bytes(context), basis=cache.basis),
        scratch=scratch_of(shape, context, slots, device, measured),
        context=context,
        slots=slots,
    )


def planned_context(shape: ModelShape, demand: Demand) -> int:
    own = shape.context or UNKNOWN_CONTEXT
    return min(own, demand.context or LEAST_CONTEXT)


def weights_of(shape: ModelShape, device: Device, measured: Measured | None = None) -> Figure:
    if measured is not None:
        return Figure(bytes=measured.weights, basis="measured")
    weights = shape.weights
    halves = sum(weights.by_type.get(kind, 0) for kind in HALVES) if device.cpu else 0
    basis: Basis = "computed" if halves and weights.basis == "exact" else weights.basis
    return Figure(bytes=weights.bytes + halves, basis=basis)


def cache_of(shape: ModelShape, device: Device, measured: Measured | None = None) -> CacheShape:
    """What is kept of one sequence."""
    if measured is not None and measured.cache is not None:
        return msgspec.structs.replace(measured.cache, basis="measured")
    found = cache_shape(shape.config, 4 if device.cpu else shape.weights.element)
    return found or CacheShape(growing=(Growing(per_token=UNKNOWN_PER_TOKEN),))


def scratch_of(shape: ModelShape, context: int, slots: int, device: Device, measured: Measured | None = None) -> Figure:
    """A prefill step's activations and scores, the logits of every row, freed buffers, and the process."""
    element = 4 if device.cpu else 2
    step = min(device.prefill_step, context)
    hidden = shape.number("hidden_size", "n_embd", "d_model")
    wide = max(shape.number("intermediate_size", "n_inner"), 4 * hidden)
    activations = step * (6 * hidden + 3 * wide) * element
    # Without a fused kernel the scores of one layer are whole matrices, and so is their softmax.
    scores = 2 * step * context * shape.number("num_attention_heads", "n_head") * 4 if device.cpu else 0
    logits = 3 * 4 * slots * shape.number("vocab_size")
    process = measured.process if measured is not None else PROCESS_BYTES
    buffers = 0 if device.cpu else buffer_bytes(weights_of(shape, device, measured).bytes)
    return Figure(bytes=activations + scores + logits + process + buffers, basis="estimated")


def most_bytes(
    shape: ModelShape,
    plan: MemoryPlan,
    device: Device,
    measured: Measured | None,
    *,
    granted: int,
    context: int,
    slots: int,
) -> int:
    """Return how much the process of a model may hold before it is taken as running away: its weights, the cache that
    was granted to it, scratch for the longest prompt that this cache holds with `slots` rows, and a margin."""
    weights = plan.weights.bytes * (CONVERTED if plan.weights.basis == "estimated" else 1)
    cache = max(plan.cache.bytes, granted)
    longest = max(plan.context, cache_of(shape, device, measured).tokens(cache, context))
    scratch = scratch_of(shape, longest, slots, device, measured).bytes
    return int((weights + cache + scratch) * (1 + MARGIN_SHARE)) + MARGIN_BYTES


def process_bytes(held: int, counted: int, device: Device) -> int:
    """Return what a process takes beyond MLX's count `counted` when the system counts `held` for it."""
    return max(LEAST_PROCESS_BYTES if device.cpu else PROCESS_BYTES, held - counted)


def buffer_bytes(weights: int) -> int:
    """How much of what was freed MLX may keep on a GPU, for a model whose weights have so many bytes."""
    return min(MOST_BUFFERS, max(LEAST_BUFFERS, weights // 8))

"""The memory that a model needs: weights, cache at a context length, and temporary buffers, each with its basis. Pure.

Used for the decision about a load, for the admission of prompts in the worker, and by the library for its listings.
"""

import msgspec

from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.contract.models import Figure, MemoryPlan
from lmx_daemon.contract.worker.cache_shape import Basis, CacheShape, Growing
from lmx_daemon.memory.architectures import cache_shape
from lmx_daemon.memory.shape import HALVES, ModelShape

PROCESS_BYTES = 300 * 1024**2
"""Memory of a worker without its model: Python, MLX and the tokenizer."""
LEAST_PROCESS_BYTES = 50 * 1024**2
LEAST_CONTEXT = 4096
"""Minimum context length for which a model is loaded, unless a context length is requested."""
UNKNOWN_CONTEXT = 32_768
"""Context length of models whose config has none."""
UNKNOWN_PER_TOKEN = 128 * 1024
"""Bytes per token for an unknown architecture: those of a model with eight billion parameters."""
CONVERTED = 4
"""Maximum growth of weights that are converted during the load: float8 on disk, float32 on a CPU."""
MARGIN_SHARE, MARGIN_BYTES = 0.25, 1024**3
"""Memory that a process may use above its plan and its granted cache.

Measured on Linux with models of 0.4 to 624 MB of weights (float32, bfloat16, a mixture of experts, a vocabulary of
150,000 tokens) under 32 streams, prompts of up to 30,000 tokens, a text of 1 MB and stored prefixes: at most 72 MB
above the plan. The rest is for larger tokenizers, and the share for fragmentation, which grows with the model. A
tokenizer or config that runs away takes gigabytes."""
LEAST_BUFFERS, MOST_BUFFERS = 128 * 1024**2, 2 * 1024**3


class Measured(Frozen, frozen=True):
    """Figures that a load of a model measured on this machine."""

    weights: int
    process: int
    """Memory of the worker process outside MLX."""
    cache: CacheShape | None = None


class Demand(Frozen, frozen=True):
    """Requested size of a load. None is decided by the model and the free memory."""

    context: int | None = None
    slots: int | None = None


class Device(Frozen, frozen=True):
    """Properties of the machine that the figures depend on."""

    cpu: bool = True
    """Whether the model runs on the CPU, where half precision is stored and computed in 32 bits."""
    prefill_step: int = 512


def plan_for(shape: ModelShape, demand: Demand, device: Device, measured: Measured | None = None) -> MemoryPlan:
    """Return the minimum plan: the requested size, or one sequence of LEAST_CONTEXT tokens."""
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
    """Return the cache size of one sequence."""
    if measured is not None and measured.cache is not None:
        return msgspec.structs.replace(measured.cache, basis="measured")
    found = cache_shape(shape.config, 4 if device.cpu else shape.weights.element)
    return found or CacheShape(growing=(Growing(per_token=UNKNOWN_PER_TOKEN),))


def scratch_of(shape: ModelShape, context: int, slots: int, device: Device, measured: Measured | None = None) -> Figure:
    """Return the size of a prefill step's activations and scores, all rows' logits, freed buffers, and the process."""
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
    """Return the memory above which the process of a model is ended as a runaway.

    It is the sum of weights, granted cache, temporary buffers for the longest prompt that fits into this cache with
    `slots` rows, and a margin.
    """
    weights = plan.weights.bytes * (CONVERTED if plan.weights.basis == "estimated" else 1)
    cache = max(plan.cache.bytes, granted)
    longest = max(plan.context, cache_of(shape, device, measured).tokens(cache, context))
    scratch = scratch_of(shape, longest, slots, device, measured).bytes
    return int((weights + cache + scratch) * (1 + MARGIN_SHARE)) + MARGIN_BYTES


def process_bytes(held: int, counted: int, device: Device) -> int:
    """Return the memory of a process outside MLX, from the system's count `held` and MLX's count `counted`."""
    return max(LEAST_PROCESS_BYTES if device.cpu else PROCESS_BYTES, held - counted)


def buffer_bytes(weights: int) -> int:
    """Return the size of freed buffers that MLX may keep on a GPU for a model with `weights` bytes."""
    return min(MOST_BUFFERS, max(LEAST_BUFFERS, weights // 8))

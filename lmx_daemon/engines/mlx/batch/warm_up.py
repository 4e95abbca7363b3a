"""The model is tried out in an empty batch. The warm-up compiles kernels and measures the prefill speed."""

import time
from collections.abc import Callable

from lmx_daemon.engines.mlx.batch.batch import Batch
from lmx_daemon.engines.mlx.batch.step import Row
from lmx_daemon.engines.mlx.sampling.parameters import GREEDY, SamplingParams

LONG_PROMPT, SHORT_PROMPT = 81, 9
"""Tokens of the last warm-up prompt: the long one also measures the prefill speed."""
QUICK_SECONDS = 0.03
"""Duration of a token up to which a model gets the long prompt; with slower models a load would take too long."""


def warm_up(batch: Batch, on_progress: Callable[[], None] = lambda: None) -> None:
    """Run prefill and decode, sampled and greedy. `on_progress` is called after every step."""
    sampled = SamplingParams(temperature=1.0, top_p=0.9, top_k=2, min_p=0.05)
    quick = _run(batch, sampled, 1, on_progress) < QUICK_SECONDS
    batch.pace.forget()
    _run(batch, GREEDY, LONG_PROMPT if quick else SHORT_PROMPT, on_progress)


def works(batch: Batch) -> bool:
    """Return whether the model generates tokens for a short prompt in `batch`, which is empty."""
    batch.add([0, 0], [Row(2, GREEDY)])
    try:
        while batch.busy:
            if batch.step().failed:
                return False
    except Exception:  # the model's code may raise anything
        return False
    return True


def _run(batch: Batch, params: SamplingParams, length: int, on_progress: Callable[[], None]) -> float:
    """Generate two tokens after a prompt of `length` tokens. Return the seconds after the first step."""
    batch.add([0] * length, [Row(2, params)])
    batch.step()
    on_progress()
    begun = time.perf_counter()
    while batch.busy:
        batch.step()
        on_progress()
    return time.perf_counter() - begun

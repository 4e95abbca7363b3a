"""What a load or a step that raised costs, and whom. Decisions only; it knows answers, and neither MLX nor the batch.

All who took part are tried again one by one (see `Line.next`): whoever fails alone, or has failed too often, was it.
"""

from collections.abc import Sequence

from lmx_daemon.contract.errors import LmxError, ModelLoadError, OutOfMemoryError, WorkerError
from lmx_daemon.engines.mlx.text.answer import EngineRequest

OF_MEMORY = ("malloc", "Insufficient Memory")
"""In what MLX raises for want of memory: on any device, and on Metal."""
MAX_FAILED_STEPS = 5
"""So many failed steps in a row, each with a fresh batch, and the process has to show that it still works."""
MAX_FAILURES = 3
"""A request that took part in so many failed steps is given up."""


class Faults:
    """Owned by the engine thread."""

    def __init__(self) -> None:
        self._in_a_row = 0

    def step_succeeded(self) -> None:
        self._in_a_row = 0

    def step_failed(self) -> bool:
        """False where it may be that nothing works any more."""
        self._in_a_row += 1
        return self._in_a_row < MAX_FAILED_STEPS


def requests_to_fail(took_part: Sequence[EngineRequest]) -> list[EngineRequest]:
    """Those to be failed, of all in a step that raised; the others are suspects until they have made a token."""
    for answer in took_part:
        answer.failures += 1
        answer.quarantined = True
    return [answer for answer in took_part if len(took_part) == 1 or answer.failures >= MAX_FAILURES]


def failure_of(error: Exception) -> LmxError:
    """What the arithmetic raised, as the request's error."""
    if _is_of_memory(error):
        return OutOfMemoryError(f"the model ran out of memory: {error}", hint="ask for less at once")
    return WorkerError(f"a step of the model failed: {type(error).__name__}: {error}", hint="see the log")


def load_failure_of(error: BaseException) -> LmxError:
    """What loading and trying a model raised, as the daemon's error."""
    if isinstance(error, LmxError):
        return error
    if _is_of_memory(error):
        return OutOfMemoryError(f"not enough memory for this model: {error}", hint="unload another model")
    return ModelLoadError(
        f"cannot load this model: {type(error).__name__}: {error}",
        hint="see the log; mlx-lm may not support this model, or its files are not whole",
    )


def _is_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or any(words in str(error) for words in OF_MEMORY)

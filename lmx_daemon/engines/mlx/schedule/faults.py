"""The consequences of a step that raised. Decisions only; it has no access to MLX or the batch.

The requests of a failed step are quarantined: each runs alone (see `RequestQueue.next`). A request that fails alone, or
has taken part in too many failed steps, is failed.
"""

from collections.abc import Sequence

from lmx_daemon.contract.errors import LmxError, OutOfMemoryError, WorkerError
from lmx_daemon.engines.mlx.out_of_memory import is_out_of_memory
from lmx_daemon.engines.mlx.text.engine_request import EngineRequest

MAX_FAILED_STEPS = 5
"""Number of failed steps in a row, each in a new batch, after which the process must prove that it still works."""
MAX_FAILURES = 3
"""Number of failed steps after which a request that took part in all of them is failed."""


class Faults:
    """The count of failed steps in a row. Owned by the engine thread."""

    def __init__(self) -> None:
        self._in_a_row = 0

    def step_succeeded(self) -> None:
        """Reset the count."""
        self._in_a_row = 0

    def step_failed(self) -> bool:
        """Count a failed step. Return False when the process itself may be broken."""
        self._in_a_row += 1
        return self._in_a_row < MAX_FAILED_STEPS


def requests_to_fail(took_part: Sequence[EngineRequest]) -> list[EngineRequest]:
    """Count the failure of a step for its requests and quarantine them. Return those that must fail."""
    for request in took_part:
        request.failures += 1
        request.quarantined = True
    return [request for request in took_part if len(took_part) == 1 or request.failures >= MAX_FAILURES]


def failure_of(error: Exception) -> LmxError:
    """Return the error of a request for what a step of the model raised."""
    if is_out_of_memory(error):
        return OutOfMemoryError(f"the model ran out of memory: {error}", hint="send shorter prompts or fewer requests")
    return WorkerError(f"a step of the model failed: {type(error).__name__}: {error}", hint="see the log")

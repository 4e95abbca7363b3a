"""The line: requests that wait for the batch, who may begin next, and the memory that each takes.

Decisions only; it knows answers, and neither MLX nor the batch. Engine thread only.
"""

from collections.abc import Callable, Collection, Iterator

from lmx_daemon.contract.frames import CacheShape
from lmx_daemon.engines.mlx.schedule.admission import Admission, Reservation
from lmx_daemon.engines.mlx.schedule.waiting import fair_order
from lmx_daemon.engines.mlx.text.answer import EngineRequest


class RequestQueue:
    """In order of arrival; whose turn it is, `order` says: whoever was set aside, then by `waiting.fair_order`."""

    def __init__(self, shape: CacheShape | None = None, cache_bytes: int = 0, context: int = 0) -> None:
        self._admission = Admission(shape or CacheShape(), cache_bytes if shape is not None else 0)
        self._context = context
        self._waiting: list[EngineRequest] = []

    def __iter__(self) -> Iterator[EngineRequest]:
        return iter(list(self._waiting))

    def __len__(self) -> int:
        return len(self._waiting)

    def find(self, identity: str) -> EngineRequest | None:
        return next((answer for answer in self._waiting if answer.request.id == identity), None)

    def add(self, answer: EngineRequest) -> None:
        self._waiting.append(answer)

    def order(self, running: Collection[EngineRequest]) -> Iterator[EngineRequest]:
        """All that wait, in the order in which they should begin."""
        yield from (answer for answer in self._waiting if answer.preempted)
        yield from fair_order([answer for answer in self._waiting if not answer.preempted], running)

    def requeue(self, answer: EngineRequest) -> None:
        """It was set aside, and is next."""
        self._admission.close(answer.request.id)
        answer.preempt()
        self._waiting.insert(0, answer)

    def remove(self, answer: EngineRequest) -> None:
        if answer in self._waiting:
            self._waiting.remove(answer)

    def check(self, answer: EngineRequest) -> None:
        """Raises ContextLengthError for one whose keys and values would not fit even alone."""
        self._admission.check(
            len(answer.prepared.tokens) + answer.longest_generated, answer.request.choices, self._context
        )

    def next(
        self, running: Collection[EngineRequest], free_rows: int, may_start: Callable[[EngineRequest], bool]
    ) -> EngineRequest | None:
        """The one that may begin or go on now, out of the line; None where nobody may. Who waits for what another one
        computes (not `may_start`) is passed."""
        if free_rows < 1:
            return None
        for answer in self.order(running):
            if answer.request.choices > free_rows or not self._admission.admits(
                self.reservation(answer), answer.longest_generated
            ):
                return None
            if running and (answer.quarantined or any(other.quarantined for other in running)):
                return None  # whoever broke a step shows it alone
            if may_start(answer):
                self._waiting.remove(answer)
                return answer
        return None

    def reservation(self, answer: EngineRequest) -> Reservation:
        """What it takes: its prompt, and as long an answer as it asks for and there is room for."""
        request, prompt = answer.request, len(answer.prepared.tokens)
        room = self._admission.longest(request.choices, self._context) - prompt
        return Reservation(prompt, max(1, min(request.max_tokens or room, room)), request.choices)

    def begin(self, answer: EngineRequest) -> Reservation:
        """It begins, or goes on; its memory is reserved until `close`."""
        reservation = self.reservation(answer)
        self._admission.open(answer.request.id, reservation, answer.longest_generated)
        return reservation

    def close(self, identity: str) -> None:
        self._admission.close(identity)

    def grant(self, cache_bytes: int) -> None:
        self._admission.grant(cache_bytes)

    def outgrown(self, running: Collection[EngineRequest]) -> EngineRequest | None:
        """The youngest of those that run, where together they take more than there is."""
        for answer in running:
            self._admission.grew(answer.request.id, answer.longest_generated)
        youngest = self._admission.overflow()
        return next((answer for answer in running if answer.request.id == youngest), None)

    def for_prefixes(self, most: int | None) -> int:
        """Bytes that stored prefixes may have beside what runs; see Admission."""
        return self._admission.for_prefixes(most)

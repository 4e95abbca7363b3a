"""The queue: requests that wait for the batch, which of them starts next, and the memory that each reserves.

Decisions only; it has no access to MLX or the batch. Engine thread only.
"""

from collections.abc import Callable, Collection, Iterator

from lmx_daemon.contract.worker.cache_shape import CacheShape
from lmx_daemon.engines.mlx.schedule.admission import Admission, Reservation
from lmx_daemon.engines.mlx.schedule.fairness import fair_order
from lmx_daemon.engines.mlx.text.answer import EngineRequest


class RequestQueue:
    """Waiting requests in order of arrival. `order` gives the order in which they start."""

    def __init__(self, shape: CacheShape | None = None, cache_bytes: int = 0, context: int = 0) -> None:
        self._admission = Admission(shape or CacheShape(), cache_bytes if shape is not None else 0)
        self._context = context
        self._waiting: list[EngineRequest] = []

    def __iter__(self) -> Iterator[EngineRequest]:
        return iter(list(self._waiting))

    def __len__(self) -> int:
        return len(self._waiting)

    def find(self, identity: str) -> EngineRequest | None:
        """Return the waiting request with this id."""
        return next((request for request in self._waiting if request.id == identity), None)

    def add(self, request: EngineRequest) -> None:
        """Append a request that has just arrived."""
        self._waiting.append(request)

    def order(self, running: Collection[EngineRequest]) -> Iterator[EngineRequest]:
        """Yield the waiting requests in the order in which they start: preempted ones, then the others fairly."""
        yield from (request for request in self._waiting if request.preempted)
        yield from fair_order([request for request in self._waiting if not request.preempted], running)

    def requeue(self, request: EngineRequest) -> None:
        """Preempt a request that ran: release its memory and put it first."""
        self._admission.close(request.id)
        request.preempt()
        self._waiting.insert(0, request)

    def remove(self, request: EngineRequest) -> None:
        """Remove a request. Idempotent."""
        if request in self._waiting:
            self._waiting.remove(request)

    def check(self, request: EngineRequest) -> None:
        """Raise ContextLengthError for a request whose KV cache would not fit even if it ran alone."""
        tokens = len(request.prepared.tokens) + request.longest_generated
        self._admission.check(tokens, request.generate.choices, self._context)

    def next(
        self, running: Collection[EngineRequest], free_rows: int, may_start: Callable[[EngineRequest], bool]
    ) -> EngineRequest | None:
        """Remove and return the request that may start or resume now, or return None.

        A request that waits for a prefix which another one computes (`may_start` is False) is skipped. A quarantined
        request runs alone, so that a further failed step can only be its own.
        """
        if free_rows < 1:
            return None
        for request in self.order(running):
            if request.generate.choices > free_rows:
                return None
            if not self._admission.admits(self.reservation(request), request.longest_generated):
                return None
            if running and (request.quarantined or any(other.quarantined for other in running)):
                return None
            if may_start(request):
                self._waiting.remove(request)
                return request
        return None

    def reservation(self, request: EngineRequest) -> Reservation:
        """Return the reservation of a request: its prompt, and an answer as long as it requests and memory allows."""
        generate, prompt = request.generate, len(request.prepared.tokens)
        room = self._admission.longest(generate.choices, self._context) - prompt
        return Reservation(prompt, max(1, min(generate.max_tokens or room, room)), generate.choices)

    def begin(self, request: EngineRequest) -> Reservation:
        """Reserve memory until `close` for a request that starts or resumes."""
        reservation = self.reservation(request)
        self._admission.open(request.id, reservation, request.longest_generated)
        return reservation

    def close(self, identity: str) -> None:
        """Release the memory of a request that has ended."""
        self._admission.close(identity)

    def grant(self, cache_bytes: int) -> None:
        """Set the bytes for KV caches and stored prefixes."""
        self._admission.grant(cache_bytes)

    def overflowing(self, running: Collection[EngineRequest]) -> EngineRequest | None:
        """Return the youngest running request if all together hold more memory than is granted."""
        for request in running:
            self._admission.grew(request.id, request.longest_generated)
        youngest = self._admission.overflow()
        return next((request for request in running if request.id == youngest), None)

    def for_prefixes(self, most: int | None) -> int:
        """Return the bytes for stored prefixes beside the running requests; see `Admission.for_prefixes`."""
        return self._admission.for_prefixes(most)

"""The requests of one worker: which wait, which run, which starts next, and the memory that each reserves.

Decisions only; it has no access to MLX or the batch. Engine thread only.
"""

from collections.abc import Callable, Iterator

from lmx_daemon.contract.worker.cache_shape import CacheShape
from lmx_daemon.engines.mlx.schedule.admission import Admission, Reservation
from lmx_daemon.engines.mlx.schedule.fairness import fair_order
from lmx_daemon.engines.mlx.text.engine_request import EngineRequest


class RequestQueue:
    """All requests. A request is in `waiting` or in `running` until it ends."""

    def __init__(self, shape: CacheShape | None = None, cache_bytes: int = 0, context: int = 0) -> None:
        self._admission = Admission(shape or CacheShape(), cache_bytes if shape is not None else 0)
        self._context = context
        self.waiting: list[EngineRequest] = []
        """In order of arrival, preempted ones first. `order` gives the order in which they start."""
        self.running: list[EngineRequest] = []
        """Requests in the batch, the oldest first."""

    def __bool__(self) -> bool:
        return bool(self.waiting or self.running)

    def __iter__(self) -> Iterator[EngineRequest]:
        return iter([*self.waiting, *self.running])

    def find(self, identity: str) -> EngineRequest | None:
        """Return the request with this id."""
        return next((request for request in self if request.id == identity), None)

    def order(self) -> Iterator[EngineRequest]:
        """Yield the waiting requests in the order in which they start: preempted ones, then the others fairly."""
        yield from (request for request in self.waiting if request.preempted)
        yield from fair_order([request for request in self.waiting if not request.preempted], self.running)

    def preempt(self, request: EngineRequest) -> None:
        """Move a request that runs to the front of those that wait."""
        self.running.remove(request)
        request.preempt()
        self.waiting.insert(0, request)

    def remove(self, request: EngineRequest) -> None:
        """Remove a request that has ended, and release its memory. Idempotent."""
        for requests in (self.waiting, self.running):
            if request in requests:
                requests.remove(request)

    def check(self, request: EngineRequest) -> None:
        """Raise ContextLengthError for a request whose KV cache would not fit even if it ran alone."""
        tokens = request.longest_prompt + request.longest_generated
        self._admission.check(tokens, request.caches, self._context_of(request), request.scratch)

    def next(self, free_rows: int, may_start: Callable[[EngineRequest], bool]) -> EngineRequest | None:
        """Return the request that may start or resume now, or None.

        A request that waits for a prefix which another one computes (`may_start` is False) is skipped. A quarantined
        request runs alone, so that a further failed step can only be its own.
        """
        if free_rows < 1:
            return None
        running = self.running
        for request in self.order():
            if request.computation.rows > free_rows:
                return None
            if not self._admission.admits(self._asked(request), self._reserved()):
                return None
            if running and (request.quarantined or any(other.quarantined for other in running)):
                return None
            if may_start(request):
                return request
        return None

    def begin(self, request: EngineRequest) -> int:
        """Move a request from those that wait to those that run. Return the tokens that each choice may generate."""
        self.waiting.remove(request)
        self.running.append(request)
        request.max_generated = self._asked(request).max_generated
        return request.max_generated

    def grant(self, cache_bytes: int) -> None:
        """Set the bytes for KV caches and stored prefixes."""
        self._admission.grant(cache_bytes)

    def overflowing(self) -> EngineRequest | None:
        """Return the youngest running request if all together hold more memory than is granted."""
        return self.running[-1] if self._admission.overflows(self._reserved()) else None

    def for_prefixes(self, most: int | None) -> int:
        """Return the bytes for stored prefixes beside the running requests; see `Admission.for_prefixes`."""
        return self._admission.for_prefixes(most, self._reserved())

    def _asked(self, request: EngineRequest) -> Reservation:
        """Return what a request reserves: its prompt, and as long an answer as it asks for and memory allows."""
        prompt, most = request.longest_prompt, request.max_tokens
        room = self._admission.longest(request.caches, self._context_of(request), request.scratch) - prompt
        max_generated = max(1, room) if most is None else min(most, max(1, room))
        return Reservation(prompt, max_generated, request.caches, request.longest_generated, request.scratch)

    def _context_of(self, request: EngineRequest) -> int:
        """Return the longest sequence of a request: the model's context, or less if the request asks for less."""
        return min(self._context, request.computation.context_length or self._context)

    def _reserved(self) -> list[Reservation]:
        return [
            Reservation(each.longest_prompt, each.max_generated, each.caches, each.longest_generated, each.scratch)
            for each in self.running
        ]

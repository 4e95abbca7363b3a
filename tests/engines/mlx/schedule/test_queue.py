"""The requests of a worker: what starts next, what each reserves, and which is preempted. No model is needed."""

import pytest

from lmx_daemon.contract.errors import ContextLengthError
from lmx_daemon.contract.generation.requests import Generate, Tokens
from lmx_daemon.contract.worker.cache_shape import CacheShape, Growing
from lmx_daemon.engines.mlx.sampling.parameters import GREEDY
from lmx_daemon.engines.mlx.schedule.queue import RequestQueue
from lmx_daemon.engines.mlx.text.answer import AnswerRecord
from lmx_daemon.engines.mlx.text.choice import Choice
from lmx_daemon.engines.mlx.text.families.family import PLAIN
from lmx_daemon.engines.mlx.text.output_parser import OutputParser
from lmx_daemon.engines.mlx.text.prompts.prompt import PreparedPrompt

SHAPE = CacheShape(growing=(Growing(per_token=1000),))
CONTEXT = 8192


def queue_of(*requests: AnswerRecord, tokens: int = 4096) -> RequestQueue:
    queue = RequestQueue(SHAPE, SHAPE.bytes(tokens), CONTEXT)
    queue.waiting += requests
    return queue


def request_of(name: str, prompt: int = 100, **fields: object) -> AnswerRecord:
    generate = Generate(id=name, model="m", prompt=Tokens(ids=(1,)), **({"max_tokens": 50} | fields))  # type: ignore[arg-type]
    return AnswerRecord(generate, PreparedPrompt([1] * prompt, []), 0.0, 0.0, 0)


def start(queue: RequestQueue, request: AnswerRecord) -> Choice:
    """Let a request run as if the batch had its row."""
    queue.begin(request)
    request.choices = [Choice(request, GREEDY, None, OutputParser(PLAIN))]
    return request.choices[0]


def may_start(_: AnswerRecord) -> bool:
    return True


def test_a_request_waits_or_runs_and_is_found_in_both() -> None:
    first, second = request_of("first"), request_of("second")
    queue = queue_of(first, second)
    assert queue.next(8, may_start) is first and queue.begin(first) == 50
    assert (queue.waiting, queue.running, list(queue)) == ([second], [first], [second, first])
    assert queue.find("first") is first and queue.find("third") is None
    for request in (first, second, second):
        queue.remove(request)
    assert not queue


def test_nothing_starts_without_enough_rows() -> None:
    queue = queue_of(request_of("several", choices=3))
    assert queue.next(0, may_start) is None and queue.next(2, may_start) is None
    assert queue.next(3, may_start) is not None


def test_a_request_that_waits_for_a_prefix_is_skipped() -> None:
    first, second = request_of("first"), request_of("second")
    assert queue_of(first, second).next(8, lambda request: request is second) is second


def test_a_request_starts_when_the_memory_of_another_is_released() -> None:
    large, small = request_of("large", 3000), request_of("small", 1500)
    queue = queue_of(large, small)
    start(queue, large)
    assert queue.next(8, may_start) is None
    queue.remove(large)
    assert queue.next(8, may_start) is small


def test_a_request_without_a_limit_of_its_own_is_limited_by_memory() -> None:
    request = request_of("long", 1000, max_tokens=None)
    assert queue_of(request).begin(request) == 3096


def test_a_request_is_limited_by_the_context_that_it_asks_for() -> None:
    request = request_of("short", 1000, max_tokens=None, context_length=1500)
    assert queue_of(request).begin(request) == 500
    larger = request_of("long", 1000, max_tokens=None, context_length=100_000)
    assert queue_of(larger).begin(larger) == 3096


def test_a_prompt_that_never_fits_is_refused() -> None:
    with pytest.raises(ContextLengthError):
        queue_of().check(request_of("large", 5000))


def test_quarantined_requests_run_alone() -> None:
    good, bad = request_of("good"), request_of("bad")
    bad.quarantined = True
    queue = queue_of(bad, good)
    start(queue, bad)
    assert queue.next(8, may_start) is None
    queue.remove(bad)
    assert queue.next(8, may_start) is good


def test_the_youngest_of_overflowing_requests_is_preempted_and_goes_first() -> None:
    old, young = request_of("old", 1000, max_tokens=3000), request_of("young", 1000, max_tokens=3000)
    queue = queue_of(old, young, request_of("later"), tokens=6000)
    rows = start(queue, old), start(queue, young)
    assert queue.overflowing() is None
    for row in rows:
        row.generated = [7] * 2500
        row.consumed = 2500
    assert queue.overflowing() is young
    queue.preempt(young)
    assert young.preempted and next(queue.order()) is young and queue.overflowing() is None


def test_a_preempted_row_is_another_object_that_has_the_consumed_tokens() -> None:
    """The batch may still compute tokens for the row that left; a token that no event reported is generated again."""
    request = request_of("one", max_tokens=50)
    queue = queue_of(request)
    row = start(queue, request)
    row.generated, row.consumed = [5, 6, 7], 2
    queue.preempt(request)
    (renewed,) = request.resume(queue.begin(request))
    assert renewed is not row and renewed.generated == [5, 6] and renewed.max_tokens == 50
    row.generated.append(8)
    assert renewed.generated == [5, 6]

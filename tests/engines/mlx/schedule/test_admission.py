"""Admission: which prompts may start, and how much memory stored prefixes may take."""

import pytest

from lmx_daemon.contract.errors import ContextLengthError
from lmx_daemon.contract.worker.cache_shape import CacheShape, Growing
from lmx_daemon.engines.mlx.schedule.admission import (
    DEFAULT_PREFIX_BYTES,
    RESERVED_TOKENS,
    Admission,
    Reservation,
)

SHAPE = CacheShape(growing=(Growing(per_token=1000),))
CONTEXT = 32_768


def room_for(tokens: int) -> int:
    return SHAPE.bytes(tokens)


def test_every_prompt_is_admitted_without_a_limit() -> None:
    admission = Admission(SHAPE)
    admission.check(30_000, 16, CONTEXT)
    running = [Reservation(30_000, 2000, 16)]
    assert admission.admits(Reservation(30_000, 2000, 16), running)
    assert admission.longest(1, CONTEXT) == CONTEXT
    assert admission.for_prefixes(77, running) == 77
    assert admission.for_prefixes(None, running) == DEFAULT_PREFIX_BYTES


def test_prompt_that_cannot_fit_alone_is_refused_with_both_lengths() -> None:
    admission = Admission(SHAPE, room_for(4096))
    admission.check(4095, 1, CONTEXT)
    with pytest.raises(ContextLengthError) as refused:
        admission.check(5000, 1, CONTEXT)
    assert "5000 tokens" in refused.value.message and "5.1 MB" in refused.value.message
    assert refused.value.message.startswith("prompt is too long: 5000 tokens > 4096 maximum; exceeds the context")
    with pytest.raises(ContextLengthError):
        admission.check(2048, 2, CONTEXT)


def test_second_request_is_admitted_only_without_the_first() -> None:
    admission = Admission(SHAPE, room_for(4096))
    first, second = Reservation(3000, 1000), Reservation(1000, 1000)
    assert admission.admits(first, [])
    assert not admission.admits(second, [first])
    assert admission.admits(second, [])


def test_long_answer_reserves_a_part_first_and_grows_with_its_tokens() -> None:
    admission = Admission(SHAPE, room_for(16_384))
    assert admission.reserved([Reservation(1000, 100_000)]) == room_for(1000 + RESERVED_TOKENS)
    assert admission.reserved([Reservation(1000, 100_000, generated=9000)]) == room_for(1000 + 9256)
    assert admission.reserved([Reservation(1000, 500, generated=9)] * 2) == 2 * room_for(1500)


def test_running_requests_reduce_the_memory_of_stored_prefixes() -> None:
    admission = Admission(SHAPE, room_for(8192))
    running = [Reservation(4096, 1)]
    assert admission.for_prefixes(room_for(16_384), []) == room_for(8192)
    assert admission.for_prefixes(None, []) == room_for(8192) // 2
    assert admission.for_prefixes(room_for(16_384), running) == room_for(8192) - room_for(4097)
    admission.grant(room_for(256))
    assert admission.for_prefixes(room_for(16_384), running) == 0


def test_requests_overflow_only_when_held_memory_exceeds_the_limit() -> None:
    admission = Admission(SHAPE, room_for(8192))
    old = Reservation(1024, 50_000, generated=3000)
    assert not admission.overflows([old, Reservation(1024, 50_000, generated=3000)])
    assert admission.overflows([old, Reservation(1024, 50_000, generated=4500)])
    assert not admission.overflows([Reservation(1024, 500_000, generated=100_000)]), "a single request never overflows"


def test_fixed_states_count_once_for_each_choice() -> None:
    admission = Admission(CacheShape(fixed=1000), 2500)
    admission.check(30_000, 2, CONTEXT)
    with pytest.raises(ContextLengthError):
        admission.check(10, 3, CONTEXT)

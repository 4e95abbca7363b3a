"""The engine's guard: which prompts may begin, and what stored prefixes may keep."""

import pytest

from lmx_daemon.contract.errors import ContextLengthError
from lmx_daemon.contract.frames import CacheShape, Growing
from lmx_daemon.engines.mlx.schedule.admission import FEWEST_PREFIXES, FORESEEN_TOKENS, Admission, Reservation

SHAPE = CacheShape(growing=(Growing(per_token=1000),))
CONTEXT = 32_768


def room_for(tokens: int) -> int:
    return SHAPE.bytes(tokens)


def test_without_a_limit_everything_goes() -> None:
    guard = Admission(SHAPE)
    guard.check(30_000, 16, CONTEXT)
    guard.open("a", Reservation(30_000, 2000, 16))
    assert guard.admits(Reservation(30_000, 2000, 16))
    assert guard.longest(1, CONTEXT) == CONTEXT
    assert guard.for_prefixes(77) == 77
    assert guard.for_prefixes(None) == FEWEST_PREFIXES


def test_a_prompt_that_would_not_fit_alone_is_refused_with_numbers() -> None:
    guard = Admission(SHAPE, room_for(4096))
    guard.check(4095, 1, CONTEXT)
    with pytest.raises(ContextLengthError) as refused:
        guard.check(5000, 1, CONTEXT)
    assert "5000 tokens" in refused.value.message and "5.1 MB" in refused.value.message
    assert refused.value.message.startswith("prompt is too long: 5000 tokens > 4096 maximum; exceeds the context")
    with pytest.raises(ContextLengthError):
        guard.check(2048, 2, CONTEXT)


def test_a_request_waits_until_there_is_room_and_the_first_never_does() -> None:
    guard = Admission(SHAPE, room_for(4096))
    first, second = Reservation(3000, 1000), Reservation(1000, 1000)
    assert guard.admits(first)
    guard.open("first", first)
    assert not guard.admits(second)
    guard.close("first")
    assert guard.admits(second)


def test_of_a_long_answer_a_part_is_foreseen_and_then_what_it_has_become() -> None:
    guard = Admission(SHAPE, room_for(16_384))
    guard.open("a", Reservation(1000, 100_000))
    assert guard.reserved() == room_for(1000 + FORESEEN_TOKENS)
    guard.grew("a", 9000)
    assert guard.reserved() == room_for(1000 + 9256)


def test_prefixes_give_way_to_what_runs() -> None:
    guard = Admission(SHAPE, room_for(8192))
    assert guard.for_prefixes(room_for(16_384)) == room_for(8192)
    assert guard.for_prefixes(None) == room_for(8192) // 2
    guard.open("a", Reservation(4096, 1))
    assert guard.for_prefixes(room_for(16_384)) == room_for(8192) - room_for(4097)
    guard.grant(room_for(256))
    assert guard.for_prefixes(room_for(16_384)) == 0


def test_the_youngest_gives_way_only_when_the_room_is_really_used_up() -> None:
    guard = Admission(SHAPE, room_for(8192))
    guard.open("old", Reservation(1024, 50_000))
    guard.open("young", Reservation(1024, 50_000))
    guard.grew("old", 3000)
    guard.grew("young", 3000)
    assert guard.overflow() is None
    guard.grew("young", 4500)
    assert guard.overflow() == "young"
    guard.close("young")
    guard.grew("old", 100_000)
    assert guard.overflow() is None


def test_states_that_do_not_grow_count_once_for_each_choice() -> None:
    guard = Admission(CacheShape(fixed=1000), 2500)
    guard.check(30_000, 2, CONTEXT)
    with pytest.raises(ContextLengthError):
        guard.check(10, 3, CONTEXT)

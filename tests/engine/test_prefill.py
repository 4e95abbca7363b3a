"""Pieces of prompts: as long as the measured pace allows, fairly shared, ending at checkpoints."""

from hypothesis import given
from hypothesis import strategies as st

from lmx_daemon.engine.prefill import GRAIN, IDLE_SECONDS, LEAST, LIVE_SECONDS, Pace, Prompt, pieces


def prompt(left: int, arrival: int = 0, done: int = 0) -> Prompt:
    return Prompt([arrival], range(done + left + 1), [], done, arrival)


def taken(prompts: list[Prompt], budget: int, turn: int) -> list[tuple[int, int]]:
    return [(chosen.arrival, count) for chosen, count in pieces(prompts, budget, turn)]


def test_the_pace_is_what_was_measured() -> None:
    pace = Pace(4096)
    assert pace.budget(True) == GRAIN
    pace.measured(16, 0.016)
    assert abs(pace.budget(True) - 1000 * LIVE_SECONDS) <= GRAIN
    assert abs(pace.budget(False) - 1000 * IDLE_SECONDS) <= GRAIN
    for _ in range(20):
        pace.measured(64, 0.64)  # it has become ten times as slow
    assert LEAST <= pace.budget(True) <= 100 * LIVE_SECONDS


def test_a_rest_says_nothing_about_the_pace() -> None:
    pace = Pace(4096)
    pace.measured(512, 0.1)
    usual = pace.budget(True)
    pace.measured(3, 0.02)
    assert pace.budget(True) == usual


def test_a_slow_machine_still_gets_on_and_a_quick_one_is_bounded() -> None:
    slow, quick = Pace(512), Pace(512)
    slow.measured(16, 40.0)
    quick.measured(512, 0.001)
    assert slow.budget(True) == LEAST and quick.budget(True) == 512


def test_a_short_prompt_does_not_wait_behind_a_long_one_nor_starve_it() -> None:
    long, short = prompt(3000, arrival=0), prompt(40, arrival=1)
    assert taken([long, short], 128, turn=0) == [(1, 40), (0, 88)]
    assert taken([long, short], 128, turn=1) == [(0, 128)]


def test_short_prompts_share_a_step() -> None:
    assert taken([prompt(40, n) for n in range(5)], 128, turn=0) == [(0, 40), (1, 40), (2, 40)]


def test_a_rest_is_taken_with_the_piece_before_it() -> None:
    assert taken([prompt(140)], 128, turn=0) == [(0, 140)]


def test_a_piece_ends_at_a_checkpoint() -> None:
    one = prompt(300, done=100)
    one.checkpoints |= {50, 150}
    assert taken([one], 128, turn=0) == [(0, 50)]


@given(st.lists(st.integers(1, 400), min_size=1, max_size=8), st.integers(1, 200))
def test_all_are_done_in_the_end_and_none_starves(lengths: list[int], budget: int) -> None:
    waiting = [prompt(length, arrival) for arrival, length in enumerate(lengths)]
    turn, oldest = 0, 0
    while waiting:
        first = waiting[0]
        chosen = pieces(waiting, budget, turn)
        assert sum(count for _, count in chosen) <= budget * 5 // 4 + 1 and all(count > 0 for _, count in chosen)
        for one, count in chosen:
            one.done += count
        oldest = 0 if any(one is first for one, _ in chosen) else oldest + 1
        assert oldest < 2, "the oldest has every second turn"
        waiting = [one for one in waiting if one.left > 0]
        turn += 1

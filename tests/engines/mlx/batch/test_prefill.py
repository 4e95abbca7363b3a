"""Prefill pieces: sized by the measured speed, shared fairly, ending at checkpoints."""

from hypothesis import given, settings
from hypothesis import strategies as st

from lmx_daemon.engines.mlx.batch.prefill import (
    GRAIN,
    IDLE_SECONDS,
    LIVE_SECONDS,
    MIN_TOKENS,
    Pace,
    PrefillPrompt,
    choose_pieces,
)
from lmx_daemon.engines.mlx.batch.step import Row
from lmx_daemon.engines.mlx.sampling.parameters import GREEDY


def prompt(left: int, arrival: int = 0, done: int = 0) -> PrefillPrompt:
    return PrefillPrompt([Row(1, GREEDY)], range(done + left + 1), [], done, arrival)


class Fixed(Pace):
    """A pace with a constant budget."""

    def __init__(self, tokens: int) -> None:
        super().__init__(tokens)

    def budget(self, held: int, live: bool) -> int:
        return self._max_tokens


def chosen(prompts: list[PrefillPrompt], budget: int, turn: int) -> list[tuple[int, int]]:
    return [(one.arrival, count) for one, count in choose_pieces(prompts, Fixed(budget), True, turn)]


def test_budget_follows_the_measured_speed() -> None:
    pace = Pace(4096)
    assert pace.budget(0, True) == GRAIN
    pace.measured([(0, 16)], 0.016, True)
    assert abs(pace.budget(0, True) - 1000 * LIVE_SECONDS) <= GRAIN
    assert abs(pace.budget(0, False) - 1000 * IDLE_SECONDS) <= GRAIN
    for _ in range(20):
        pace.measured([(0, 64)], 0.64, True)  # the machine is ten times slower now
    assert MIN_TOKENS <= pace.budget(0, True) <= 100 * LIVE_SECONDS


def test_speed_is_measured_apart_for_long_contexts() -> None:
    pace = Pace(4096)
    for _ in range(10):
        pace.measured([(0, 200)], 0.1, True)
        count = pace.budget(3000, True)
        pace.measured([(3000, count)], count / 200, True)
    deep = pace.budget(3000, True)
    assert abs(deep - 200 * LIVE_SECONDS) <= MIN_TOKENS and abs(pace.budget(0, True) - 2000 * LIVE_SECONDS) <= GRAIN
    assert pace.budget(40_000, True) == deep, "an unmeasured depth has the speed of the nearest measured one"
    for _ in range(20):
        pace.measured([(0, 100), (3000, 10)], 0.2, True)  # both at half the speed
    assert pace.budget(3000, True) <= deep // 2 + MIN_TOKENS and pace.budget(0, True) <= 1000 * LIVE_SECONDS + GRAIN


def test_short_last_piece_does_not_change_the_measured_speed() -> None:
    pace = Pace(4096)
    pace.measured([(0, 512)], 0.1, True)
    usual = pace.budget(0, True)
    pace.measured([(512, 3)], 0.02, True)
    assert pace.budget(0, True) == pace.budget(515, True) == usual


def test_budget_is_bounded_below_and_above() -> None:
    slow, quick = Pace(512), Pace(512)
    slow.measured([(0, 16)], 40.0, True)
    quick.measured([(0, 512)], 0.001, True)
    assert slow.budget(0, True) == MIN_TOKENS and quick.budget(0, True) == 512


def test_short_and_long_prompts_take_turns() -> None:
    long, short = prompt(3000, arrival=0), prompt(40, arrival=1)
    assert chosen([long, short], 128, turn=0) == [(1, 40), (0, 88)]
    assert chosen([long, short], 128, turn=1) == [(0, 128)]


def test_several_short_prompts_share_a_step() -> None:
    assert chosen([prompt(40, n) for n in range(5)], 128, turn=0) == [(0, 40), (1, 40), (2, 40)]


def test_short_rest_is_computed_with_the_piece_before_it() -> None:
    assert chosen([prompt(140)], 128, turn=0) == [(0, 140)]


def test_piece_ends_at_a_checkpoint() -> None:
    one = prompt(300, done=100)
    one.checkpoints |= {50, 150}
    assert chosen([one], 128, turn=0) == [(0, 50)]


@settings(deadline=None)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=8), st.integers(1, 200))
def test_all_prompts_finish_and_none_starves(lengths: list[int], budget: int) -> None:
    waiting = [prompt(length, arrival) for arrival, length in enumerate(lengths)]
    turn, oldest = 0, 0
    while waiting:
        first = waiting[0]
        chosen = choose_pieces(waiting, Fixed(budget), True, turn)
        assert sum(count for _, count in chosen) <= budget * 5 // 4 + 1 and all(count > 0 for _, count in chosen)
        for one, count in chosen:
            one.done += count
        oldest = 0 if any(one is first for one, _ in chosen) else oldest + 1
        assert oldest < 2, "the oldest prompt has every second turn"
        waiting = [one for one in waiting if one.left > 0]
        turn += 1

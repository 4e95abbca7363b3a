"""The checks of `lmx doctor --engine`, from figures."""

import pytest

from lmx_cli.doctor.checks import CheckResult
from lmx_cli.doctor.trial_answers import Comparison
from lmx_cli.doctor.trial_checks import batch_check, cache_check, memory_check, rate_check, stall_check

EQUAL, ROUNDED, WRONG = Comparison(6, 6), Comparison(6, 5, 0.01), Comparison(6, 5, 0.9)


@pytest.mark.parametrize(
    ("found", "state", "words"),
    [
        (batch_check(EQUAL, 6), "ok", "6 of 6 answers equal"),
        (batch_check(ROUNDED, 6), "ok", "differ by rounding"),
        (batch_check(WRONG, 6), "failed", "a probability differs by 0.90"),
        (batch_check(EQUAL, 1), "warning", "up to 1 at once"),
        (cache_check(EQUAL, 100, 99, 2.0, 0.1), "ok", "99 of 100 tokens from the cache, first token after 100 ms"),
        (cache_check(EQUAL, 100, 0, 2.0, 2.0), "failed", "0 of 100 tokens"),
        (cache_check(WRONG, 100, 99, 2.0, 0.1), "failed", "5 of 6 answers equal"),
        (memory_check(50, 1050, 50, 1.5), "ok", "1 kB; 0 B of it was in use 1.5 s later"),
        (memory_check(50, 1050, 40, 1.5), "ok", "0 B of it"),
        (memory_check(50, 1050, 950, 20.0), "failed", "900 B of it"),
        (memory_check(50, 50, 50, 20.0), "warning", "was not measured in time"),
        (stall_check(1000, 2.0, [0.4] * 5, 0.01), "ok", "5 pieces meanwhile, longest gap 400 ms, before 10 ms"),
        (stall_check(1000, 9.0, [0.4, 1.5], 0.01), "warning", "longest gap 1.5 s"),
        (stall_check(1000, 9.0, [], 0.01), "failed", "0 pieces meanwhile, longest gap 9.0 s"),
        (rate_check({1: 90.0, 8: 300.0}, {1: 100.0, 8: 200.0}), "ok", "1 stream: 90 tok/s, 0.90 of mlx-lm"),
        (rate_check({1: 90.0, 8: 100.0}, {1: 100.0, 8: 200.0}), "warning", "8 streams: 100 tok/s, 0.50"),
    ],
)  # fmt: skip
def test_state_and_message_follow_from_the_figures(found: CheckResult, state: str, words: str) -> None:
    assert found.state == state
    assert words in found.message
    assert bool(found.advice) == (state != "ok")
    assert found.figures and all(isinstance(value, int | float) for value in found.figures.values())

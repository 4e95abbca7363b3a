"""Tests of the bound on how often something is noted."""

from lmx_daemon.contract.allowance import Allowance


def test_notes_above_the_rate_are_refused_and_unused_ones_last_for_a_second() -> None:
    now = [0.0]
    allowance = Allowance(2.0, lambda: now[0])
    assert [allowance.take() for _ in range(3)] == [True, True, False]
    now[0] = 0.5
    assert [allowance.take() for _ in range(2)] == [True, False]
    now[0] = 100.0
    assert [allowance.take() for _ in range(3)] == [True, True, False]

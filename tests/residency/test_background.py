"""Tests of tasks that nothing awaits: their errors are reported, and repeated work continues."""

import asyncio
from typing import Any

import pytest

from lmx_daemon.residency.background import KEPT_FAILING, Background
from tests.residency.fakes import Harness
from tests.residency.waiting import until


async def test_an_error_is_reported_and_other_tasks_continue() -> None:
    reported: list[str] = []
    background = Background(reported.append)
    done = asyncio.Event()

    async def fails() -> None:
        raise OSError("no file to spare")

    async def works() -> None:
        await asyncio.sleep(0.01)
        done.set()

    background.run(fails())
    background.run(works())
    await asyncio.wait_for(done.wait(), 5)
    assert len(reported) == 1 and reported[0].startswith("OSError: no file to spare (fails, test_background.py:")


async def test_cancelled_tasks_are_silent() -> None:
    reported: list[str] = []
    background = Background(reported.append)
    background.run(asyncio.sleep(60))
    background.every(60, "sleep", lambda: None)
    await asyncio.sleep(0)
    tasks = list(background._tasks)
    background.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert reported == [] and background.problem() is None


class Panic(BaseException):
    """An error of the kind that extension modules raise. It is not an Exception."""


@pytest.mark.parametrize("error", [ValueError("bad"), Panic("bad"), asyncio.CancelledError("bad")])
async def test_repeated_work_continues_after_any_error_and_is_a_problem_while_it_fails(error: BaseException) -> None:
    reported: list[str] = []
    background = Background(reported.append)
    rounds = 0
    fails = True

    async def work() -> None:
        nonlocal rounds
        rounds += 1
        if fails:
            raise error

    background.every(0.001, "the work", work)
    await until(lambda: rounds > KEPT_FAILING)
    assert background.problem() == f"the work failed: {type(error).__name__}: bad"
    fails = False
    await until(lambda: background.problem() is None)
    assert len(reported) == 1  # logged once a minute at most
    background.cancel()


async def test_one_failure_is_not_a_problem() -> None:
    background = Background(lambda message: None)

    def fails() -> None:
        raise ValueError("once")

    await background.attempt("the work", fails)
    assert background.problem() is None


async def test_the_supervisor_continues_after_an_error_and_the_health_reports_it(harness_for_two: Harness) -> None:
    bad, good = harness_for_two.loaded("a"), harness_for_two.loaded("b")
    seen: list[Any] = []

    def broken() -> Any:
        raise RuntimeError("unreadable")

    beat = good.beat
    bad.beat, good.beat = broken, lambda: (seen.append(1), beat())[1]  # type: ignore[method-assign]
    for _ in range(KEPT_FAILING):
        harness_for_two.loop.advance(0.5)
        await harness_for_two.pool.background.attempt("the supervisor", harness_for_two.scheduler.on_tick)
    assert len(seen) == KEPT_FAILING  # the other model is inspected
    problem = "the supervisor failed: RuntimeError: unreadable"
    assert harness_for_two.pool.background.problem() == problem and not harness_for_two.pool.health().ok
    assert sum("RuntimeError: unreadable" in line for line in harness_for_two.lines) == 1
    del bad.beat
    await harness_for_two.pool.background.attempt("the supervisor", harness_for_two.scheduler.on_tick)
    assert harness_for_two.pool.health().ok

"""Tasks that nothing awaits: errors are reported, and repeated work goes on."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from lmx_daemon.residency import supervision
from lmx_daemon.residency.background import KEPT_FAILING, Background
from tests.residency.fakes import MB, Floor, until


async def test_an_error_is_reported_and_other_tasks_go_on() -> None:
    told: list[str] = []
    background = Background(told.append)
    done = asyncio.Event()

    async def fails() -> None:
        raise OSError("no file to spare")

    async def works() -> None:
        await asyncio.sleep(0.01)
        done.set()

    background.run(fails())
    background.run(works())
    await asyncio.wait_for(done.wait(), 5)
    assert len(told) == 1 and told[0].startswith("OSError: no file to spare (fails, test_background.py:")


async def test_cancelled_tasks_are_silent() -> None:
    told: list[str] = []
    background = Background(told.append)
    background.run(asyncio.sleep(60))
    background.every(60, "sleep", lambda: None)
    await asyncio.sleep(0)
    background.cancel()
    await asyncio.sleep(0.01)
    assert told == [] and background.problem() is None


class Panic(BaseException):
    """As an extension module raises it: no Exception."""


@pytest.mark.parametrize("error", [ValueError("bad"), Panic("bad"), asyncio.CancelledError("bad")])
async def test_repeated_work_goes_on_after_any_error_and_is_reported_as_long_as_it_fails(error: BaseException) -> None:
    told: list[str] = []
    background = Background(told.append)
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
    assert len(told) == 1  # logged once a minute at most
    background.cancel()


async def test_one_failure_is_no_problem() -> None:
    background = Background(lambda message: None)

    def fails() -> None:
        raise ValueError("once")

    await background.attempt("the work", fails)
    assert background.problem() is None


async def test_the_supervisor_outlives_errors_and_health_reports_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "TICK_SECONDS", 0.005)
    floor = Floor(tmp_path, 1800 * MB)
    bad, good = await floor.loaded("a"), await floor.loaded("b")
    seen: list[Any] = []

    def broken() -> Any:
        raise RuntimeError("unreadable")

    bad.beat = broken  # type: ignore[method-assign]
    beat = good.beat
    good.beat = lambda: (seen.append(1), beat())[1]  # type: ignore[method-assign]
    floor.pool.open()
    await until(lambda: len(seen) > KEPT_FAILING)  # the other model is looked after
    assert floor.pool.health().ok is False
    assert floor.pool.health().reason == "the supervisor failed: RuntimeError: unreadable"
    assert sum("RuntimeError: unreadable" in line for line in floor.lines) == 1
    del bad.beat
    await until(lambda: floor.pool.health().ok)
    await floor.pool.close()

"""The warm spare: taken once, replaced when it ends by itself."""

import asyncio
from typing import Any

from lmx_daemon.contract.errors import EngineMissingError, WorkerError
from lmx_daemon.residency.spare import AGAIN_SECONDS, Spare
from tests.residency.fakes import FakeWorker


class Starts:
    """Starts fake workers, and fails while `error` is set."""

    def __init__(self) -> None:
        self.made: list[FakeWorker] = []
        self.error: Exception | None = None

    async def __call__(self) -> Any:
        if self.error is not None:
            raise self.error
        self.made.append(FakeWorker(100 + len(self.made)))
        return self.made[-1]


async def until(condition: Any, seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_spare_that_ends_is_replaced_after_a_pause() -> None:
    starts = Starts()
    spare = Spare(starts, True, lambda: False)
    spare.prepare()
    await until(lambda: spare.state == "warm")
    starts.made[0].ended.set_result(WorkerError("killed"))
    await asyncio.sleep(0.05)
    assert spare.take() is None and len(starts.made) == 1
    await until(lambda: spare.state == "warm", AGAIN_SECONDS + 1.0)
    assert len(starts.made) == 2 and spare.take() is starts.made[1]
    await spare.close(0.1)


async def test_a_spare_that_does_not_start_is_tried_again() -> None:
    starts = Starts()
    starts.error = WorkerError("no process can be started")
    spare = Spare(starts, True, lambda: False)
    spare.prepare()
    await asyncio.sleep(0.05)
    starts.error = None
    await until(lambda: spare.state == "warm")
    await spare.close(0.1)


async def test_a_taken_spare_is_not_replaced_when_it_ends() -> None:
    starts = Starts()
    spare = Spare(starts, True, lambda: False)
    spare.prepare()
    await until(lambda: spare.state == "warm")
    taken = spare.take()
    assert taken is not None
    starts.made[0].ended.set_result(WorkerError("killed"))
    await asyncio.sleep(2 * AGAIN_SECONDS)
    assert len(starts.made) == 1 and spare.state == "none"
    spare.prepare()
    await until(lambda: spare.state == "warm")
    await spare.close(0.1)


async def test_a_missing_engine_is_not_tried_again() -> None:
    starts = Starts()
    starts.error = EngineMissingError("MLX is missing")
    spare = Spare(starts, True, lambda: False)
    spare.prepare()
    await until(lambda: spare.state == "MLX is missing")
    starts.error = None
    await asyncio.sleep(2 * AGAIN_SECONDS)
    assert not starts.made

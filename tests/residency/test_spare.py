"""Tests of the warm spare: it is taken once, and replaced when it ends by itself."""

import asyncio
from typing import Any

from lmx_daemon.contract.errors import EngineMissingError, LmxError, WorkerError
from lmx_daemon.residency.spare import AGAIN_SECONDS, Spare
from tests.residency.waiting import until


class Process:
    """A worker whose imports are done."""

    def __init__(self) -> None:
        self.hello = "hello"
        self.ended: asyncio.Future[LmxError] = asyncio.get_running_loop().create_future()

    @property
    def alive(self) -> bool:
        return not self.ended.done()

    async def ready(self) -> str:
        return self.hello

    async def leave(self, seconds: float) -> None:
        self.ended.set_result(WorkerError("it left"))


class Starts:
    """Start of workers, which fails while `error` is set."""

    def __init__(self) -> None:
        self.made: list[Process] = []
        self.error: Exception | None = None

    async def __call__(self, kind: str = "text") -> Any:
        if self.error is not None:
            raise self.error
        self.made.append(Process())
        return self.made[-1]


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


async def test_the_start_of_a_spare_is_repeated_after_an_error() -> None:
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


async def test_the_start_is_not_repeated_without_an_engine() -> None:
    starts = Starts()
    starts.error = EngineMissingError("MLX is missing")
    spare = Spare(starts, True, lambda: False)
    spare.prepare()
    await until(lambda: spare.state == "MLX is missing")
    starts.error = None
    await asyncio.sleep(2 * AGAIN_SECONDS)
    assert not starts.made

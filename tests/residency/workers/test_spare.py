"""Tests of the warm spare: it is taken once, and replaced when it ends by itself."""

import asyncio
from typing import Any

from lmx_daemon.contract.errors import EngineMissingError, LmxError, WorkerError
from lmx_daemon.residency.workers.spare import AGAIN_SECONDS, Spare, Spares
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

    async def __call__(self) -> Any:
        if self.error is not None:
            raise self.error
        self.made.append(Process())
        return self.made[-1]


async def test_a_spare_that_ends_is_replaced_after_a_pause() -> None:
    starts = Starts()
    spare = Spare(starts, lambda: False)
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
    spare = Spare(starts, lambda: False)
    spare.prepare()
    await asyncio.sleep(0.05)
    starts.error = None
    await until(lambda: spare.state == "warm")
    await spare.close(0.1)


async def test_a_taken_spare_is_not_replaced_when_it_ends() -> None:
    starts = Starts()
    spare = Spare(starts, lambda: False)
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
    spare = Spare(starts, lambda: False)
    spare.prepare()
    await until(lambda: spare.state == "MLX is missing")
    starts.error = None
    await asyncio.sleep(2 * AGAIN_SECONDS)
    assert not starts.made


async def test_each_kind_has_a_spare_of_its_own() -> None:
    kinds: list[Any] = ["text", "other"]
    started: list[str] = []

    async def start(kind: str) -> Any:
        started.append(kind)
        return Process()

    spares = Spares(kinds, start, lambda: False)
    spares.prepare()
    await until(lambda: spares.state == "text: warm, other: warm")
    first = spares.take(kinds[1])
    assert first is not None and spares.take(kinds[1]) is None and len(spares.workers) == 1
    missing: Any = "missing"
    assert spares.take(missing) is None
    spares.prepare()
    await until(lambda: len(spares.workers) == 2)
    assert started == ["text", "other", "other"]
    await spares.close(0.1)
    assert spares.workers == []


async def test_without_kinds_the_spare_is_off() -> None:
    async def start(kind: str) -> Any:
        raise AssertionError(kind)

    spares = Spares([], start, lambda: False)
    spares.prepare()
    assert spares.state == "off" and spares.take("text") is None
    await spares.close(0.1)

"""The shared main loop, run as a real process by the real residency.workers.worker.Worker with the fake engine."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from lmx_daemon.contract.errors import EngineMissingError, LmxError
from lmx_daemon.contract.generation.events import Delta, Event, Failed, Finished, is_terminal
from lmx_daemon.contract.generation.requests import Generate, Text
from lmx_daemon.contract.worker.messages import Load
from lmx_daemon.monitor.worker_log import WorkerLog
from lmx_daemon.residency.requests.active_request import ActiveRequest
from lmx_daemon.residency.workers.worker import Worker
from tests.residency.driver import Driver
from tests.worker import fake_engine

PROGRAM = (sys.executable, "-m", "tests.worker.fake_engine")
LOAD = Load(instance="fake:1", model="fake", path="/nowhere")
SECONDS = 20.0


@asynccontextmanager
async def started(folder: Path, **environment: str) -> AsyncIterator[Worker]:
    with WorkerLog(folder / "workers.log") as log:
        worker = await Worker.start("fake", PROGRAM, os.environ | environment, log.open, lambda name, line: None)
        try:
            yield worker
        finally:
            worker.kill(signal.SIGKILL)
            await asyncio.wait_for(worker.ended, SECONDS)


@pytest.fixture
async def worker(tmp_path: Path) -> AsyncIterator[Worker]:
    async with started(tmp_path) as worker:
        yield worker


@pytest.fixture
async def driver(worker: Worker) -> Driver:
    return Driver(worker)


def submitted(driver: Driver, identity: str, text: str = "hello") -> ActiveRequest:
    return driver.submit(Generate(id=identity, model="fake", prompt=Text(text=text)))


async def until_end(active: ActiveRequest) -> list[Event]:
    events: list[Event] = []
    while not events or not is_terminal(events[-1]):
        events += await asyncio.wait_for(active.take(), SECONDS)
    return events


async def end_of(worker: Worker) -> LmxError:
    return await asyncio.wait_for(asyncio.shield(worker.ended), SECONDS)


class TestServing:
    async def test_engine_sends_hello_and_answers(self, worker: Worker, driver: Driver) -> None:
        hello = await worker.ready()
        assert hello.engine == "fake" and hello.versions == {"fake": "1"} and hello.pid == worker.pid
        loaded = await driver.load(LOAD)
        assert loaded.capabilities.context_length == 64
        events = await until_end(submitted(driver, "a"))
        assert [event.content for event in events if isinstance(event, Delta)] == list(fake_engine.ANSWER)
        assert isinstance(events[-1], Finished) and events[-1].reason == "stop"

    async def test_a_request_is_refused_while_no_model_is_loaded(self, worker: Worker, driver: Driver) -> None:
        await worker.ready()
        (event,) = await until_end(submitted(driver, "a"))
        assert isinstance(event, Failed) and event.error.message == "no model is loaded in this worker"

    async def test_a_request_above_the_capacity_is_refused(self, driver: Driver) -> None:
        await driver.load(LOAD)
        kept = [submitted(driver, f"k{number}", fake_engine.KEEP) for number in range(fake_engine.CAPACITY)]
        for active in kept:
            await asyncio.wait_for(active.take(), SECONDS)
        (event,) = await until_end(submitted(driver, "more"))
        assert isinstance(event, Failed) and event.error.code == "queue_full"
        kept[0].cancel()
        assert isinstance((await until_end(kept[0]))[-1], Finished)
        assert isinstance((await until_end(submitted(driver, "again")))[-1], Finished)


class TestEnds:
    async def test_leave_ends_the_process_with_exit_code_0(self, worker: Worker, driver: Driver) -> None:
        await driver.load(LOAD)
        await worker.leave(SECONDS)
        assert worker._process.returncode == 0

    async def test_a_missing_engine_fails_the_start_with_its_hint(self, tmp_path: Path) -> None:
        async with started(tmp_path, **{fake_engine.IS_MISSING: "1"}) as worker:
            with pytest.raises(EngineMissingError, match="the fake engine is missing") as caught:
                await asyncio.wait_for(worker.ready(), SECONDS)
            assert caught.value.hint == "unset the variable"

    @pytest.mark.parametrize(
        ("text", "thread"), [(fake_engine.BREAK_PROMPTS, "prompts"), (fake_engine.BREAK_ENGINE, "engine")]
    )
    async def test_an_exception_in_a_thread_ends_the_process_and_is_its_reason(
        self, worker: Worker, driver: Driver, text: str, thread: str
    ) -> None:
        await driver.load(LOAD)
        active = submitted(driver, "a", text)
        error = await end_of(worker)
        assert error.message == f"the model's process failed: the {thread} thread ended: ValueError: {text}"
        assert isinstance((await until_end(active))[-1], Failed)

    async def test_the_process_ends_when_the_daemon_closes_the_socket(self, worker: Worker, driver: Driver) -> None:
        await driver.load(LOAD)
        process = psutil.Process(worker.pid)
        assert worker._writer is not None
        worker._writer.close()
        await end_of(worker)
        assert not process.is_running()

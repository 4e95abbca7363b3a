"""Tests of the real HTTP app over the real scheduler and a fake worker, on asyncio's loop."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from lmx_daemon.contract.errors import LmxError, ModelLoadError, WorkerError
from lmx_daemon.contract.generation.events import Delta, Ending, Event, Finished, Started, Usage
from lmx_daemon.contract.models import Model
from lmx_daemon.contract.worker.messages import EngineKind, Load, Submit, ToWorker
from lmx_daemon.residency.incidents import Incidents
from lmx_daemon.residency.measured import Measurements
from lmx_daemon.residency.pool import Pool
from lmx_daemon.settings.schema import EngineSettings, Settings
from lmx_daemon.settings.source import SettingsSource
from tests.http.asgi import Answer, ask, public_app_over
from tests.residency.fakes import ONE_FITS, FakeMachine, FakeWorker
from tests.residency.waiting import until

BODY = {"model": "a", "prompt": "x", "max_tokens": 2}


class AnsweringWorker(FakeWorker):
    """A worker that loads and answers by itself: with "Hello", or with the events of `script`."""

    load_error: LmxError | None = None
    holds = False
    """Whether the worker leaves requests unanswered."""

    def send(self, message: ToWorker) -> None:
        super().send(message)
        call = asyncio.get_running_loop().call_soon
        match message:
            case Load() if self.load_error is not None:
                call(self.fail_load, self.load_error)
            case Load():
                call(self.load)
            case Submit(request=request):
                call(lambda: self.emit(*self.answer(request.id)))

    def answer(self, name: str) -> Sequence[Event]:
        """Return the events of an answer."""
        begin = (Started(id=name, prompt_tokens=1, cached_tokens=0, seed=1), Delta(id=name, content="Hello", tokens=1))
        end = Finished(id=name, endings=(Ending(reason="stop"),), usage=Usage(prompt_tokens=1, completion_tokens=1))
        return begin if self.holds else (*begin, end)


class Daemon:
    """The public app, its pool and its workers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workers: list[AnsweringWorker] = []
        self.load_error: LmxError | None = None
        self.holds = False
        self.pool = Pool(
            SettingsSource(Settings(engine=EngineSettings(warm_spare=False))),
            find=self.find,
            clear=lambda model: False,
            start=self.start,
            host=FakeMachine(ONE_FITS, folder),
            measurements=Measurements(folder / "measured.json"),
            prefixes=folder / "prefix",
            incidents=Incidents(lambda name, log: None),
        )
        self.app = public_app_over(self.pool, folder=folder)

    def find(self, name: str) -> Model:
        (self.folder / name).mkdir(exist_ok=True)
        return Model(id=name, path=str(self.folder / name), source="folder")

    async def start(self, name: str, kind: EngineKind) -> Any:
        worker = AnsweringWorker(1000 + len(self.workers), self.pool.background)
        worker.load_error, worker.holds = self.load_error, self.holds
        self.workers.append(worker)
        return worker

    async def post(self, **fields: Any) -> Any:
        return await ask(self.app, "POST", "/v1/completions", BODY | fields)


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    daemon = Daemon(tmp_path)
    daemon.pool.open()
    yield daemon
    await daemon.pool.close()


async def test_a_request_loads_its_model_and_is_answered(daemon: Daemon) -> None:
    answer = await daemon.post()
    assert answer.status == 200 and answer.json()["choices"][0]["text"] == "Hello"
    assert [instance.state for instance in daemon.pool.instances()] == ["ready"]
    assert not daemon.pool.requests.busy()


async def test_simultaneous_requests_share_one_load(daemon: Daemon) -> None:
    answers = await asyncio.gather(*(daemon.post() for _ in range(5)))
    assert [answer.status for answer in answers] == [200] * 5 and len(daemon.workers) == 1


async def test_models_that_take_turns_are_evicted_and_loaded(daemon: Daemon) -> None:
    for name in ("a", "b", "a"):
        assert (await daemon.post(model=name)).status == 200
    assert [worker.alive for worker in daemon.workers] == [False, False, True]


async def test_a_failed_load_is_an_error_of_the_request(daemon: Daemon) -> None:
    daemon.load_error = ModelLoadError("a file is broken")
    answer = await daemon.post()
    assert answer.status == ModelLoadError.status and "a file is broken" in answer.json()["error"]["message"]
    daemon.load_error = None
    assert (await daemon.post()).status == 200


async def test_a_crash_ends_a_stream_with_an_error_and_the_next_request_is_answered(daemon: Daemon) -> None:
    daemon.holds = True
    answer = Answer()
    streaming = asyncio.create_task(ask(daemon.app, "POST", "/v1/completions", BODY | {"stream": True}, answer=answer))
    await until(lambda: b"Hello" in answer.body)
    daemon.workers[0].end(WorkerError("the model's process was ended by SIGSEGV"))
    await streaming
    lines = [line for line in answer.body.decode().splitlines() if line.startswith("data: {")]
    assert "Hello" in lines[0] and json.loads(lines[-1][6:])["error"]["code"] == "worker_failed"
    daemon.holds = False
    assert (await daemon.post()).status == 200


async def test_requests_under_way_fail_at_the_end_of_the_drain(daemon: Daemon) -> None:
    daemon.holds = True
    streaming = asyncio.create_task(daemon.post(stream=True))
    await until(lambda: daemon.workers and daemon.workers[0].submitted)
    await daemon.pool.drain(0.05)
    assert "lmx was shut down" in (await streaming).body.decode()
    assert (await daemon.post()).status == 503
    assert (await ask(daemon.app, "GET", "/health")).status == 503


async def test_a_drain_ends_with_the_last_request(daemon: Daemon) -> None:
    daemon.holds = True
    streaming = asyncio.create_task(daemon.post(stream=True))
    await until(lambda: daemon.workers and daemon.workers[0].submitted)
    draining = asyncio.create_task(daemon.pool.drain(60.0))
    await asyncio.sleep(0)
    daemon.workers[0].finish()
    await asyncio.wait_for(draining, 5)
    assert (await streaming).body.endswith(b"data: [DONE]\n\n")

"""Tests of engine kinds: the kind of a model selects its worker program, memory plan, load options and warm spare."""

import asyncio
import importlib.util
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from lmx_daemon.contract.admin.protocol import LoadRequest
from lmx_daemon.contract.generation.events import Delta, Finished, is_terminal
from lmx_daemon.contract.generation.requests import Generate, Text
from lmx_daemon.contract.models import Figure, MemoryPlan, Model
from lmx_daemon.contract.worker.messages import EngineKind, TextOptions
from lmx_daemon.memory.need import Demand, Device, Measured
from lmx_daemon.memory.shape import ModelShape
from lmx_daemon.monitor.worker_log import WorkerLog
from lmx_daemon.residency.incidents import Incidents
from lmx_daemon.residency.measured import Measurements
from lmx_daemon.residency.pool import Pool
from lmx_daemon.residency.workers.programs import PROGRAMS, EngineProgram, LoadLimits, text_options
from lmx_daemon.residency.workers.worker import Worker
from lmx_daemon.settings.schema import EngineSettings, Settings
from lmx_daemon.settings.source import SettingsSource
from tests.residency.fakes import GB, MB, TWO_FIT, FakeMachine, Harness, greeting
from tests.residency.waiting import until


def flat_plan(shape: ModelShape, demand: Demand, device: Device, measured: Measured | None = None, /) -> MemoryPlan:
    """Return the plan of an engine without keys and values."""
    weights, none = Figure(bytes=100 * MB, basis="exact"), Figure(bytes=0, basis="exact")
    return MemoryPlan(weights=weights, cache=none, scratch=none, context=64)


def most(*_: Any, **__: Any) -> int:
    return 7 * GB


def flat_options(settings: Settings, limits: LoadLimits) -> TextOptions:
    return TextOptions(max_running=1, max_waiting=3)


OTHER: Any = "other"
"""A second engine kind."""
KINDS: dict[Any, EngineProgram] = {
    **PROGRAMS,
    OTHER: EngineProgram("tests.worker.fake_engine", flat_options, flat_plan, most, warm_spare=True),
}


def test_every_engine_kind_has_a_program_that_exists() -> None:
    assert set(PROGRAMS) == set(get_args(EngineKind))
    for program in PROGRAMS.values():
        assert importlib.util.find_spec(f"{program.command[-1]}.__main__") is not None


def test_a_model_that_ran_out_of_memory_gets_smaller_steps() -> None:
    settings = Settings(engine=EngineSettings(prefill_step=256))
    for times, step in ((0, 256), (1, 128), (9, 64)):
        limits = LoadLimits(Demand(), 1, times, Path())
        assert text_options(settings, limits).prefill_step == step


class TestDecisions:
    @pytest.fixture
    def harness(self, make_harness: Callable[..., Harness]) -> Harness:
        harness = make_harness(TWO_FIT, programs=KINDS)
        harness.kinds["b"] = OTHER
        return harness

    def test_the_kind_of_a_model_selects_program_plan_limit_and_options(self, harness: Harness) -> None:
        for name in "ab":
            harness.ask(name)
            harness.worker(name).load()
            harness.loop.settle()
        assert [worker.kind for worker in harness.workers] == ["text", "other"]
        plan, command = harness.instance("b").plan, harness.worker("b").command
        assert plan is not None and plan.bytes == 100 * MB and command is not None
        assert command.options == flat_options(harness.settings.current, LoadLimits(Demand(), 0, 0, Path()))
        (resident,) = [each for each in harness.pool._residents if each.model.id == "b"]
        assert harness.pool.accounts.most(resident) == 7 * GB
        text = harness.instance("a").plan
        assert text is not None and text.cache.bytes > 0

    def test_the_first_load_of_each_kind_waits_for_its_own_backend(self, harness: Harness) -> None:
        harness.silent_workers = True
        harness.ask("b")
        assert harness.states() == {"b": "starting"} and harness.worker("b").command is None
        harness.worker("b").greet(greeting(1, "metal, Apple M9", 64 * GB))
        assert harness.states() == {"b": "loading"}
        assert harness.pool.accounts.device_of("text").cpu and not harness.pool.accounts.device_of(OTHER).cpu

    def test_an_engine_on_the_cpu_does_not_hide_the_gpu_of_another(self, harness: Harness) -> None:
        harness.pool.accounts.greet("text", greeting(1, "metal, Apple M9", 64 * GB))
        harness.pool.accounts.greet(OTHER, greeting(2, "cpu"))
        assert harness.machine.device_memory == 64 * GB
        assert harness.pool.accounts.backend == "metal, Apple M9; cpu"


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[Pool]:
    """Yield a pool of two engine kinds. Real processes of the fake engine run both."""

    def find(name: str) -> Model:
        return Model(id=name, path=str(tmp_path), source="folder", kind=OTHER if name == "b" else "text")

    programs = KINDS | {"text": EngineProgram("tests.worker.second_engine", flat_options, flat_plan, most)}
    with WorkerLog(tmp_path / "workers.log") as log:
        pool = Pool(
            SettingsSource(Settings()),
            find=find,
            clear=lambda model: False,
            start=lambda name, kind: Worker.start(
                name, programs[kind].command, os.environ, log.open, lambda name, line: None
            ),
            host=FakeMachine(TWO_FIT, tmp_path),
            measurements=Measurements(tmp_path / "measured.json"),
            prefixes=tmp_path / "prefix",
            incidents=Incidents(lambda name, line: None),
            programs=programs,
        )
        pool.open()
        yield pool
        await pool.close()


async def answer(pool: Pool, model: str) -> str:
    active = pool.submit(Generate(id=model, model=model, prompt=Text(text="x")))
    events = []
    async with asyncio.timeout(30):
        while not (events and is_terminal(events[-1])):
            events += await active.take()
    pool.release(active)
    assert isinstance(events[-1], Finished), events[-1]
    return "".join(event.content for event in events if isinstance(event, Delta))


async def test_models_of_two_kinds_are_answered_by_their_engines(pool: Pool) -> None:
    await until(lambda: pool.spares.state == "warm", 30)
    (spare,) = pool.spares.workers
    assert await answer(pool, "a") == "second engine"
    assert pool.spares.workers == [spare], "the spare of one kind is not used for another"
    assert await answer(pool, "b") == "one two three"
    pids = {instance.model: instance.pid for instance in pool.instances()}
    assert pids["b"] == spare.pid != pids["a"]
    assert [instance async for instance in pool.load(LoadRequest(model="b"))][-1].state == "ready"

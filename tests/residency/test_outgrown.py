"""Workers that hold more than they may, loads without progress, and ends for want of memory."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from lmx_daemon.contract.admin.protocol import UnloadRequest
from lmx_daemon.contract.errors import CrashLoopError, OutOfMemoryError
from lmx_daemon.contract.events import Failed
from lmx_daemon.contract.models import Model
from lmx_daemon.contract.worker.cache_shape import CacheShape, Growing
from lmx_daemon.contract.worker.messages import Heartbeat, Hello, MemoryUse
from lmx_daemon.memory.budget import ProcessUse
from lmx_daemon.memory.need import MARGIN_BYTES, Demand, Device, Measured, most_bytes, plan_for
from lmx_daemon.memory.shape import ModelShape, Weights
from lmx_daemon.residency import supervision
from lmx_daemon.residency.ends import Ends
from lmx_daemon.residency.plan import Beat, exceeded, reduced
from lmx_daemon.residency.resident import Resident
from lmx_daemon.settings.schema import EngineSettings, Settings
from lmx_daemon.settings.source import SettingsSource
from tests.residency.fakes import MB, WEIGHTS, FakeWorker, Floor, until

MODEL = Model(id="a", path="/a", source="folder")
GB = 1024**3


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "TICK_SECONDS", 0.01)


def limits(beat: Beat, *, loading: bool, greeted: bool = True) -> float | None:
    return exceeded(beat, 1000.0, 0.0, loading=loading, greeted=greeted, hang=60.0, load=300.0)


class TestProgress:
    def test_a_step_of_a_load_may_take_longer_than_one_of_a_loaded_model(self) -> None:
        beat = Beat(heard_at=999.0, progressed_at=900.0, busy=True)
        assert limits(beat, loading=True) is None
        assert limits(beat, loading=False) == 60.0

    def test_a_load_without_progress_has_an_end(self) -> None:
        assert limits(Beat(heard_at=999.0, progressed_at=600.0, busy=True), loading=True) == 300.0

    def test_a_silent_process_hangs_also_while_it_loads(self) -> None:
        assert limits(Beat(heard_at=900.0, progressed_at=900.0, busy=True), loading=True) == 60.0

    def test_imports_send_no_heartbeats(self) -> None:
        assert limits(Beat(heard_at=900.0, progressed_at=900.0, busy=False), loading=True, greeted=False) is None
        assert limits(Beat(heard_at=600.0, progressed_at=600.0, busy=False), loading=True, greeted=False) == 300.0

    async def test_a_load_that_reads_is_not_ended_however_long_it_takes(self, tmp_path: Path) -> None:
        floor = Floor(tmp_path, 1800 * MB, load_seconds=0.3, hang_seconds=5.0)
        floor.pool.open()
        active = floor.ask("a")
        worker = await floor.loading("a")
        stuck = Beat(time.monotonic() + 60, time.monotonic(), True)
        worker.last_beat = stuck
        for step in range(1, 100):
            floor.machine.uses[worker.pid] = ProcessUse(WEIGHTS, step * 1000)
            await asyncio.sleep(0.01)
        assert floor.states() == {"a": "loading"}
        worker.last_beat, worker.proceed = None, worker.proceed
        worker.proceed.set()
        await until(lambda: floor.states() == {"a": "ready"})
        floor.pool.release(active)
        await floor.pool.close()

    async def test_one_that_neither_reads_nor_reports_is_ended(self, tmp_path: Path) -> None:
        floor = Floor(tmp_path, 1800 * MB, load_seconds=0.2, hang_seconds=5.0)
        floor.pool.open()
        active = floor.ask("a")
        worker = await floor.loading("a")
        worker.last_beat = Beat(time.monotonic() + 60, time.monotonic(), True)
        await until(lambda: active.closed)
        assert (await failure(active)) == "worker_hung"
        await floor.pool.close()

    async def test_a_loaded_model_that_hangs_while_it_is_unloaded_has_the_limit_of_a_step(self, tmp_path: Path) -> None:
        floor = Floor(tmp_path, 1800 * MB, load_seconds=60.0, hang_seconds=0.1)
        floor.pool.open()
        worker = await floor.loaded("a")
        active = floor.ask("a")
        unloading = asyncio.ensure_future(floor.pool.unload(UnloadRequest(id="a")))
        worker.last_beat = Beat(time.monotonic() + 60, time.monotonic(), True)
        await until(lambda: active.closed)
        assert (await failure(active)) == "worker_hung"
        await unloading
        await floor.pool.close()


async def failure(active: Any) -> str:
    last = (await active.take())[-1]
    assert isinstance(last, Failed)
    return last.error.code


class TestTheLimit:
    SHAPE = ModelShape({"hidden_size": 1000, "num_attention_heads": 10}, Weights({"F32": GB}, "exact"))
    CACHE = CacheShape(growing=(Growing(per_token=1000),))

    def most(self, granted: int, *, basis: str = "exact", cpu: bool = True) -> int:
        shape = ModelShape(self.SHAPE.config, Weights({"F32": GB}, basis))  # type: ignore[arg-type]
        device = Device(cpu=cpu)
        measured = Measured(weights=GB, process=0, cache=self.CACHE) if basis == "measured" else None
        plan = plan_for(shape, Demand(), device, measured)
        return most_bytes(shape, plan, device, measured, granted=granted, context=100_000, slots=32)

    def test_it_is_above_the_plan_by_a_margin(self) -> None:
        plan = plan_for(self.SHAPE, Demand(), Device())
        assert plan.bytes + MARGIN_BYTES <= self.most(0) < 1.5 * plan.bytes + MARGIN_BYTES

    def test_what_is_granted_may_be_held(self) -> None:
        assert self.most(10 * GB) >= self.most(0) + 9 * GB

    def test_a_processor_needs_scores_for_the_longest_prompt_that_the_cache_holds(self) -> None:
        short, long = self.most(0, basis="measured"), self.most(100 * MB, basis="measured")
        assert long - short > 2 * 512 * 90_000 * 10 * 4

    def test_weights_that_are_converted_may_grow(self) -> None:
        assert self.most(0, basis="estimated") > self.most(0) + 3 * GB


class TestTheFootprint:
    async def test_a_worker_that_grows_is_ended_with_a_memory_error(self, tmp_path: Path) -> None:
        floor = Floor(tmp_path, 1800 * MB)
        floor.pool.open()
        worker = await floor.loaded("a")
        active = floor.ask("a")
        floor.machine.uses[worker.pid] = ProcessUse(20 * GB)
        await until(lambda: active.closed)
        assert (await failure(active)) == "out_of_memory"
        await until(lambda: not worker.alive)
        assert [i.kind for i in floor.pool.incidents.recent()] == ["out of memory"]
        assert "may hold" in floor.pool.incidents.recent()[0].message
        await floor.pool.close()

    async def test_so_is_one_that_grows_while_it_loads(self, tmp_path: Path) -> None:
        floor = Floor(tmp_path, 1800 * MB)
        floor.pool.open()
        active = floor.ask("a")
        worker = await floor.loading("a")
        floor.machine.uses[worker.pid] = ProcessUse(9 * GB)
        await until(lambda: active.closed)
        assert (await failure(active)) == "out_of_memory"
        await until(lambda: not worker.alive)
        await floor.pool.close()

    async def test_a_peak_of_one_sample_and_a_gpus_own_memory_end_nothing(self, tmp_path: Path) -> None:
        resident = Resident(MODEL, Demand(), None)
        resident.observe(ProcessUse(10), most=5)
        resident.observe(ProcessUse(1), most=5)
        assert resident.samples_above == 0
        resident.observe(ProcessUse(10), most=None)
        assert resident.samples_above == 0

    async def test_on_a_mac_it_is_ended_only_under_memory_pressure(self, tmp_path: Path) -> None:
        """The physical footprint of an honest worker can be twice what MLX counts."""
        floor = Floor(tmp_path, 1800 * MB)
        floor.pool.open()
        worker = await floor.loaded("a")
        worker.hello = Hello(protocol=1, engine="fake", pid=1, backend="metal, Apple M9", device_memory=64 * GB)
        floor.machine.uses[worker.pid] = ProcessUse(20 * GB)
        await asyncio.sleep(0.2)
        assert worker.alive
        floor.machine.pressure = "warning"
        await until(lambda: not worker.alive)
        await floor.pool.close()


def hello(backend: str, device: int) -> Hello:
    return Hello(protocol=1, engine="fake", pid=1, backend=backend, device_memory=device)


@pytest.mark.parametrize(
    ("backend", "device", "held"),
    [("cpu, OpenBLAS", 0, 30 * GB), ("metal, Apple M9", 64 * GB, 30 * GB), ("cuda, H200", 140 * GB, 12 * GB)],
)
async def test_held_is_the_larger_count_except_for_a_gpus_own_memory(backend: str, device: int, held: int) -> None:
    resident = Resident(MODEL, Demand(), None)
    worker = FakeWorker(1)
    worker.memory, worker.hello = MemoryUse(active=10 * GB, cache=2 * GB, resident=99 * GB), hello(backend, device)
    resident.worker = worker  # type: ignore[assignment]
    resident.observe(ProcessUse(30 * GB), None)
    assert resident.held == held
    resident.observe(ProcessUse(GB), None)
    assert resident.held == 12 * GB


@pytest.mark.parametrize(
    ("running", "waiting", "requests", "shown"),
    [(0, 0, 1, 1), (1, 0, 1, 0), (1, 0, 3, 2), (2, 3, 5, 3), (1, 2, 0, 2), (4, 0, 1, 0)],
)
async def test_requests_that_a_worker_has_not_begun_are_waiting(
    running: int, waiting: int, requests: int, shown: int
) -> None:
    resident = Resident(MODEL, Demand(), None)
    worker = FakeWorker(1)
    worker.heartbeat = Heartbeat(steps=0, busy=False, running=running, waiting=waiting)
    worker.requests = dict.fromkeys(map(str, range(requests)))  # type: ignore[assignment]
    resident.worker = worker  # type: ignore[assignment]
    assert resident.instance().waiting == shown


class TestEnds:
    SETTINGS = SettingsSource(Settings(engine=EngineSettings(max_restarts=3, restart_window_seconds=100.0)))

    def test_memory_and_crashes_are_counted_apart(self) -> None:
        ends = Ends(self.SETTINGS)
        for now in (0.0, 1.0):
            ends.crashed(MODEL, now)
            ends.ran_out(MODEL, now)
        assert ends.delay(MODEL, 1.5) > 0.0 and ends.crashes(MODEL) == 2 and ends.out_of_memory(MODEL, 2.0) == 2
        ends.ran_out(MODEL, 3.0)
        with pytest.raises(OutOfMemoryError, match="ran out of memory 3 times") as refused:
            ends.delay(MODEL, 4.0)
        assert refused.value.retry_after == 96.0
        assert ends.delay(MODEL, 200.0) == 0.0 and ends.out_of_memory(MODEL, 200.0) == 0
        for now in (200.0, 201.0, 202.0):
            ends.crashed(MODEL, now)
        with pytest.raises(CrashLoopError):
            ends.delay(MODEL, 203.0)

    def test_the_next_load_takes_less(self) -> None:
        assert [reduced(512, 64, times) for times in range(5)] == [512, 256, 128, 64, 64]
        assert reduced(32, 64, 3) == 32

    async def test_an_exit_for_want_of_memory_is_no_crash(self, tmp_path: Path) -> None:
        floor = Floor(tmp_path, 9 * GB)
        worker = await floor.loaded("a")
        granted = floor.pool.instances()[0].cache_limit
        worker.end(OutOfMemoryError("out of GPU memory: Insufficient Memory"))
        await until(lambda: not floor.pool.instances())
        assert [i.kind for i in floor.pool.incidents.recent()] == ["out of memory"]
        again = await floor.loaded("a")
        assert again.command is not None and again.command.options.prefill_step == 256
        assert floor.pool.instances()[0].cache_limit < 0.6 * granted
        assert floor.pool.instances()[0].restarts == 0


async def test_under_pressure_prefixes_are_given_back(tmp_path: Path) -> None:
    floor = Floor(tmp_path, 9 * GB)
    floor.pool.open()
    worker = await floor.loaded("a")
    (instance,) = floor.pool.instances()
    assert instance.plan is not None and instance.cache_limit > 4 * instance.plan.cache.bytes
    floor.machine.pressure = "warning"
    await until(lambda: worker.grants and worker.grants[-1] == instance.plan.cache.bytes)
    floor.machine.pressure = "normal"
    await until(lambda: worker.grants[-1] > 4 * instance.plan.cache.bytes)
    await floor.pool.close()


async def test_a_load_is_refused_with_the_reason_under_critical_pressure(tmp_path: Path) -> None:
    floor = Floor(tmp_path, 9 * GB)
    floor.machine.pressure = "critical"
    active = floor.ask("a")
    await until(lambda: active.closed)
    last = (await active.take())[-1]
    assert isinstance(last, Failed) and last.error.code == "out_of_memory"
    assert "critical memory pressure" in last.error.message

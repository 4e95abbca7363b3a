"""Tests of the regular inspection: hangs, growth beyond the limit, memory pressure, and ends by memory shortage."""

from collections.abc import Callable

from lmx_daemon.contract.admin.protocol import UnloadRequest
from lmx_daemon.contract.errors import OutOfMemoryError
from lmx_daemon.contract.worker.cache_shape import CacheShape, Growing
from lmx_daemon.memory.budget import ProcessUse
from lmx_daemon.memory.need import MARGIN_BYTES, Demand, Device, Measured, most_bytes, plan_for
from lmx_daemon.memory.oom_kills import WINDOW_SECONDS, OomKills
from lmx_daemon.memory.shape import ModelShape, Weights
from lmx_daemon.residency.decisions.plan import Beat
from tests.residency.fakes import GB, MB, TWO_FIT, WEIGHTS, FakeWorker, Harness, error_code, greeting, last_event

Make = Callable[..., Harness]


def stuck(harness: Harness) -> Beat:
    """Return the heartbeat of a worker that is busy and finishes no step."""
    return Beat(harness.loop.now() + 1e6, harness.loop.now(), True)


class TestHangs:
    def test_a_load_that_reads_is_not_ended_however_long_it_takes(self, make_harness: Make) -> None:
        harness = make_harness(TWO_FIT, load_seconds=30.0, hang_seconds=50.0)
        harness.load("a")
        worker = harness.worker("a")
        worker.last_beat = stuck(harness)
        for step in range(1, 300):
            harness.machine.uses[worker.pid] = ProcessUse(WEIGHTS, step * 1000)
            harness.tick()
        assert harness.states() == {"a": "loading"}
        worker.last_beat = None
        worker.load()
        assert harness.states() == {"a": "ready"}

    def test_a_load_that_neither_reads_nor_reports_is_ended(self, make_harness: Make) -> None:
        harness = make_harness(TWO_FIT, load_seconds=20.0, hang_seconds=50.0)
        active = harness.ask("a")
        worker = harness.worker("a")
        worker.last_beat = stuck(harness)
        harness.tick(19)
        assert not active.closed
        harness.tick(2)
        assert error_code(active) == "worker_hung" and worker.leaving
        assert harness.incidents() == [("hung", "a")]

    def test_a_hang_fails_the_requests_and_the_next_one_loads_the_model_again(self, harness: Harness) -> None:
        worker = harness.loaded("a")
        active = harness.ask("a")
        worker.last_beat = stuck(harness)
        harness.tick(31)
        assert not harness.pool.health().ok
        harness.tick(30)
        assert error_code(active) == "worker_hung" and harness.states() == {} and harness.pool.health().ok
        harness.loaded("a")
        assert harness.instance("a").restarts == 1

    def test_a_loaded_model_that_hangs_while_it_is_unloaded_has_the_limit_of_a_step(self, make_harness: Make) -> None:
        harness = make_harness(TWO_FIT, load_seconds=6000.0, hang_seconds=10.0)
        worker = harness.loaded("a")
        active = harness.ask("a")
        harness.scheduler.on_unload(UnloadRequest(id="a"))
        worker.last_beat = stuck(harness)
        harness.tick(11)
        assert error_code(active) == "worker_hung" and harness.states() == {}

    def test_a_daemon_that_was_suspended_finds_no_worker_hung(self, harness: Harness) -> None:
        worker = harness.loaded("a")
        harness.tick()
        worker.last_beat = Beat(harness.loop.now(), harness.loop.now(), False)
        harness.loop.advance(1000)
        harness.scheduler.on_tick()
        worker.last_beat = None
        harness.tick(5)
        assert harness.states() == {"a": "ready"} and harness.incidents() == []


class TestTheLimit:
    SHAPE = ModelShape({"hidden_size": 1000, "num_attention_heads": 10}, Weights({"F32": GB}, "exact"))
    CACHE = CacheShape(growing=(Growing(per_token=1000),))

    def most(self, granted: int, *, basis: str = "exact", cpu: bool = True) -> int:
        shape = ModelShape(self.SHAPE.config, Weights({"F32": GB}, basis))  # type: ignore[arg-type]
        device = Device(cpu=cpu)
        measured = Measured(weights=GB, process=0, cache=self.CACHE) if basis == "measured" else None
        plan = plan_for(shape, Demand(), device, measured)
        return most_bytes(shape, plan, device, measured, granted=granted, context=100_000, slots=32)

    def test_the_limit_is_above_the_plan_by_a_margin(self) -> None:
        plan = plan_for(self.SHAPE, Demand(), Device())
        assert plan.bytes + MARGIN_BYTES <= self.most(0) < 1.5 * plan.bytes + MARGIN_BYTES

    def test_the_limit_includes_the_grant(self) -> None:
        assert self.most(10 * GB) >= self.most(0) + 9 * GB

    def test_the_limit_on_a_cpu_includes_attention_scores_of_the_longest_prompt_in_the_cache(self) -> None:
        short, long = self.most(0, basis="measured"), self.most(100 * MB, basis="measured")
        assert long - short > 2 * 512 * 90_000 * 10 * 4

    def test_the_limit_allows_converted_weights_to_grow(self) -> None:
        assert self.most(0, basis="estimated") > self.most(0) + 3 * GB


class TestTheFootprint:
    def test_a_worker_that_grows_is_ended_with_a_memory_error(self, harness_for_two: Harness) -> None:
        worker = harness_for_two.loaded("a")
        active = harness_for_two.ask("a")
        harness_for_two.machine.uses[worker.pid] = ProcessUse(20 * GB)
        harness_for_two.tick(0.5)
        assert not active.closed  # one sample may be a peak
        harness_for_two.tick(0.5)
        assert error_code(active) == "out_of_memory" and not worker.alive
        assert harness_for_two.incidents() == [("out of memory", "a")]
        assert "may hold" in harness_for_two.pool.incidents.recent()[0].message

    def test_a_worker_that_grows_while_it_loads_is_ended(self, harness_for_two: Harness) -> None:
        active = harness_for_two.ask("a")
        worker = harness_for_two.worker("a")
        harness_for_two.machine.uses[worker.pid] = ProcessUse(9 * GB)
        harness_for_two.tick(1)
        assert error_code(active) == "out_of_memory" and not worker.alive

    def test_a_worker_that_grows_on_a_mac_is_ended_only_under_memory_pressure(self, harness_for_two: Harness) -> None:
        # On a Mac, the physical footprint of a correct worker can be twice the bytes that MLX counts.
        worker = harness_for_two.loaded("a")
        worker.hello = greeting(1, "metal, Apple M9", 64 * GB)
        harness_for_two.machine.uses[worker.pid] = ProcessUse(20 * GB)
        harness_for_two.tick(5)
        assert worker.alive
        harness_for_two.machine.pressure = "warning"
        harness_for_two.tick()
        assert not worker.alive


class TestMemoryShortage:
    def test_an_end_by_memory_shortage_is_no_crash_and_the_next_load_is_smaller(self, make_harness: Make) -> None:
        harness = make_harness(9 * GB)
        worker = harness.loaded("a")
        granted = harness.instance("a").cache_limit
        worker.end(OutOfMemoryError("out of GPU memory: Insufficient Memory"))
        assert harness.states() == {} and harness.incidents() == [("out of memory", "a")]
        again = harness.loaded("a")
        assert again.command is not None and again.command.options.prefill_step == 256
        assert harness.instance("a").cache_limit < 0.6 * granted and harness.instance("a").restarts == 0

    def test_kills_by_the_kernel_are_sampled_while_a_model_is_loaded(self, harness: Harness) -> None:
        counter = harness.folder / "vmstat"
        counter.write_text("oom_kill 0\n")
        harness.machine.oom_kills = OomKills((), counter, harness.loop.now)
        harness.loaded("a")
        counter.write_text("oom_kill 1\n")
        assert harness.machine.oom_kills.recent()
        harness.tick(2 * WINDOW_SECONDS)
        assert not harness.machine.oom_kills.recent()

    def test_prefixes_are_dropped_under_memory_pressure(self, make_harness: Make) -> None:
        harness = make_harness(9 * GB)
        worker: FakeWorker = harness.loaded("a")
        plan = harness.instance("a").plan
        assert plan is not None and harness.instance("a").cache_limit > 4 * plan.cache.bytes
        harness.machine.pressure = "warning"
        harness.tick()
        assert worker.grants[-1] == plan.cache.bytes
        harness.machine.pressure = "normal"
        harness.tick()
        assert worker.grants[-1] > 4 * plan.cache.bytes

    def test_a_load_is_refused_with_the_reason_under_critical_pressure(self, make_harness: Make) -> None:
        harness = make_harness(9 * GB)
        harness.machine.pressure = "critical"
        event = last_event(harness.ask("a"))
        assert event.error.code == "out_of_memory"  # type: ignore[union-attr]
        assert "critical memory pressure" in event.error.message  # type: ignore[union-attr]

"""Random orders of events for the scheduler. Its invariants hold after each event, and no request is left over."""

import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from lmx_daemon.contract.admin.protocol import UnloadRequest
from lmx_daemon.contract.errors import LmxError, ModelLoadError, WorkerError
from lmx_daemon.residency.requests.active_request import ActiveRequest
from lmx_daemon.settings.schema import ServerSettings, Settings
from tests.residency.fakes import TWO_FIT, FakeWorker, Harness

MODELS = "abcd"
EVENTS = 150
PLACES = 4
"""Requests that may run or wait for one model."""


class Walk:
    """Random order of events. Workers leave, greet and load only when the walk decides so."""

    def __init__(self, harness: Harness, seed: int) -> None:
        self.random = random.Random(seed)
        self.harness = harness
        self.actives: list[ActiveRequest] = []
        harness.silent_workers = harness.staying_workers = True
        engine = msgspec.structs.replace(harness.settings.current.engine, max_running=1)
        harness.settings.replace(Settings(engine=engine, server=ServerSettings(max_queued=PLACES - 1)))

    def go(self) -> None:
        """Cause one random event."""
        acts: list[Callable[[], None]] = [self.ask] * 3 + [self.release, self.report, self.tick, self.command]
        acts += [self.step, self.report] * 4
        self.random.choice(acts)()

    def ask(self) -> None:
        fields: dict[str, Any] = {"queue_deadline": 3.0} if self.random.random() < 0.2 else {}
        fields["tenant"] = self.random.choice(["greedy", "greedy", "greedy", "modest"])
        try:
            self.actives.append(self.harness.request(self.random.choice(MODELS), **fields))
        except LmxError as error:
            assert error.code in ("crash_loop", "queue_full"), error.code

    def release(self) -> None:
        if self.actives:
            self.harness.pool.release(self.actives.pop(self.random.randrange(len(self.actives))))

    def command(self) -> None:
        name = self.random.choice(MODELS)
        try:
            if self.random.random() < 0.5:
                self.harness.load(name)
            else:
                self.harness.scheduler.on_unload(UnloadRequest(id=name, force=self.random.random() < 0.5))
        except LmxError as error:
            assert error.code in ("crash_loop", "not_found"), error.code

    def step(self) -> None:
        self.harness.loop.step()

    def tick(self) -> None:
        self.harness.loop.advance(self.random.choice([0.1, 0.5, 6.0]))
        self.harness.scheduler.on_tick()

    def report(self) -> None:
        workers = [worker for worker in self.harness.workers if worker.alive and worker.events is not None]
        if workers:
            report(self.random.choice(workers), self.random)

    def check(self) -> None:
        """Assert the invariants that hold after each event."""
        residents = list(self.harness.pool._residents)
        assert sum(resident.state == "loading" for resident in residents) <= 1
        assert sum(worker.alive and worker.command is not None for worker in self.harness.workers) <= 2  # two fit
        serving = [resident.model.id for resident in residents if resident.state != "leaving"]
        assert len(serving) == len(set(serving))
        for resident in residents:
            held = [each for each in resident.requests.values() if each.under_way]
            assert len(held) <= 2 * PLACES
            assert sum(not each.closed and not each.released for each in held) <= PLACES
        alive = {worker.instance for worker in self.harness.workers if worker.alive}
        for active in self.harness.pool.requests._all():
            resident = self.harness.pool._residents.get(active.instance)
            assert not active.under_way or resident is not None
            assert not active.at_worker or active.instance in alive
            assert not active.waiting or (resident is not None and resident.starting)

    def finish(self) -> None:
        """Complete the work of all workers, and assert that nothing is left over."""
        for _ in range(300):
            self.harness.tick()
            for worker in [worker for worker in self.harness.workers if worker.alive and worker.events is not None]:
                work(worker)
                self.harness.loop.settle()
            self.check()
        assert all(active.closed for active in self.actives)
        self.harness.release(*self.actives)
        assert not self.harness.pool.requests.busy()
        for instance in self.harness.pool.instances():
            assert instance.state == "ready" and instance.waiting == 0
        self.harness.scheduler.on_close()
        assert not any(resident.starting for resident in self.harness.pool._residents)


def report(worker: FakeWorker, choice: random.Random) -> None:
    """Send a random report that the state of the worker allows."""
    running = [name for name in worker.submitted if choice.random() < 0.5]
    reports: list[Callable[[], None]] = [lambda: worker.finish(*running) if running else None]
    if worker.hello is None:
        reports += [worker.greet] * 4
    elif worker.command is not None:
        reports += [worker.load] * 4 + [lambda: worker.progress("weights", choice.random())]
        reports.append(lambda: worker.fail_load(ModelLoadError("bad")))
    if worker.leaving:
        reports += [worker.end] * 3
    if choice.random() < 0.1:
        reports.append(lambda: worker.end(WorkerError("SIGSEGV")))
    choice.choice(reports)()


def work(worker: FakeWorker) -> None:
    """Complete all commands that a worker has received."""
    if worker.leaving:
        worker.end()
    elif worker.hello is None:
        worker.greet()
    elif worker.command is not None:
        worker.load()
        if worker.submitted:
            worker.finish()


@pytest.mark.parametrize("seed", range(60))
def test_no_order_of_events_breaks_an_invariant_or_leaves_a_request(
    make_harness: Callable[..., Harness], seed: int
) -> None:
    walk = Walk(make_harness(TWO_FIT, memory_wait_seconds=20.0), seed)
    for _ in range(EVENTS):
        walk.go()
        walk.check()
    walk.finish()

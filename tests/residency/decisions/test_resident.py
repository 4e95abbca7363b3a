"""Tests of the memory of a resident model, as the system counts it and as MLX counts it."""

import pytest

from lmx_daemon.contract.models import Model
from lmx_daemon.contract.worker.messages import Heartbeat, MemoryUse
from lmx_daemon.memory.budget import ProcessUse
from lmx_daemon.memory.need import Demand
from lmx_daemon.residency.decisions.resident import Resident, unbegun
from tests.residency.fakes import GB, FakeWorker, Harness, ManualLoop, greeting

MODEL = Model(id="a", path="/a", source="folder")


def resident() -> Resident:
    return Resident(MODEL, Demand(), None, now=0.0)


def test_one_sample_above_the_limit_is_a_peak() -> None:
    found = resident()
    found.observe(ProcessUse(10), most=5, now=0.0)
    found.observe(ProcessUse(1), most=5, now=0.5)
    assert found.samples_above == 0
    found.observe(ProcessUse(10), most=None, now=1.0)
    assert found.samples_above == 0


@pytest.mark.parametrize(
    ("backend", "device", "held"),
    [("cpu, OpenBLAS", 0, 30 * GB), ("metal, Apple M9", 64 * GB, 30 * GB), ("cuda, H200", 140 * GB, 12 * GB)],
)
def test_held_is_the_larger_count_except_for_a_gpus_own_memory(backend: str, device: int, held: int) -> None:
    found, worker = resident(), FakeWorker(1, ManualLoop())
    worker.memory = MemoryUse(active=10 * GB, cache=2 * GB, resident=99 * GB)
    worker.hello = greeting(1, backend, device)
    found.process = worker
    found.observe(ProcessUse(30 * GB), None, 0.0)
    assert found.held == held
    found.observe(ProcessUse(GB), None, 0.5)
    assert found.held == 12 * GB


@pytest.mark.parametrize(
    ("running", "waiting", "held", "shown"),
    [(0, 0, 1, 1), (1, 0, 1, 0), (1, 0, 3, 2), (2, 3, 5, 3), (1, 2, 0, 2), (4, 0, 1, 0)],
)
def test_requests_that_a_worker_has_not_begun_are_waiting(running: int, waiting: int, held: int, shown: int) -> None:
    assert unbegun(Heartbeat(steps=0, busy=False, running=running, waiting=waiting), held) == shown


def test_requests_that_a_silent_worker_holds_are_shown_as_waiting(harness: Harness) -> None:
    harness.loaded("a")
    harness.ask("a")
    harness.ask("a")
    assert harness.instance("a").waiting == 2

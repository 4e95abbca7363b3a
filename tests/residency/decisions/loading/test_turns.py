"""Tests of models that evict each other in turn."""

from pathlib import Path

from lmx_daemon.contract.admin.protocol import LoadRequest
from lmx_daemon.contract.errors import LmxError
from lmx_daemon.residency.decisions.loading.turns import HOLD_FACTOR, held_until, returns_of, rivals
from tests.residency.fakes import ONE_FITS, Harness

LOAD_SECONDS = 0.1
"""Time of a load that a fake worker reports."""


class Loaded:
    def __init__(self, *displaced: str, returns: int = 0) -> None:
        self.displaced, self.returns = frozenset(displaced), returns
        self.ready_at, self.load_seconds = 100.0, 5.0


def test_a_model_that_displaced_another_one_is_its_rival() -> None:
    first, second = Loaded("b"), Loaded("c")
    assert rivals("b", [first, second]) == [first]
    assert returns_of("b", [first, second]) == 1 and returns_of("d", [first, second]) == 0
    assert returns_of("b", [Loaded("b", returns=3)]) == 4


def test_the_first_change_and_its_return_are_free_and_later_changes_wait() -> None:
    assert held_until(Loaded("b"), 30.0) == 100.0
    assert held_until(Loaded("b", returns=1), 30.0) == 100.0 + HOLD_FACTOR * 5.0
    assert held_until(Loaded("b", returns=1), 7.0) == 107.0


def serve(harness: Harness, model: str) -> None:
    """Answer one request for a model whose load may begin at once."""
    active = harness.ask(model)
    worker = harness.worker(model)
    worker.load()
    worker.finish(active.id)
    harness.release(active)
    harness.loop.settle()


def test_the_third_change_in_a_row_waits_for_a_multiple_of_the_load(tmp_path: Path) -> None:
    harness = Harness(tmp_path, ONE_FITS)
    for model in ("a", "b", "a"):
        serve(harness, model)
    active = harness.ask("b")
    assert harness.states() == {"a": "ready", "b": "starting"}
    assert harness.instance("b").stage == "waiting: a has just taken its place"
    other = harness.ask("a")
    harness.worker("a").finish(other.id)  # meanwhile the model in memory answers
    harness.release(other)
    harness.loop.advance(HOLD_FACTOR * LOAD_SECONDS + 0.1)
    assert harness.worker("b").command is not None
    harness.worker("b").load()
    harness.release(active)
    harness.loop.settle()


def test_alternating_requests_load_no_model_more_often_than_its_hold_allows(tmp_path: Path) -> None:
    harness = Harness(tmp_path, ONE_FITS)
    seconds = 20
    for step in range(seconds * 20):
        active = harness.ask("a" if step % 2 else "b")
        for worker in [each for each in harness.workers if each.alive and each.command is not None]:
            if harness.instance(worker.name).state == "loading":
                worker.load()
            worker.finish()
            harness.loop.settle()
        harness.loop.advance(0.05)
        if active.closed:
            harness.release(active)
    assert 10 < len(harness.workers) <= seconds / (HOLD_FACTOR * LOAD_SECONDS) + 3
    harness.pool.requests.fail(LmxError("the test has ended"))


def test_an_explicit_load_and_a_third_model_do_not_wait(tmp_path: Path) -> None:
    harness = Harness(tmp_path, ONE_FITS)
    for model in ("a", "b", "a"):
        serve(harness, model)
    harness.scheduler.on_load(LoadRequest(model="b"), harness.find("b"))
    harness.loop.settle()
    assert harness.instance("b").state == "loading"
    harness.worker("b").load()
    harness.loop.settle()
    active = harness.ask("c")
    assert harness.instance("c").state == "loading"
    harness.worker("c").load()
    harness.release(active)
    harness.loop.settle()

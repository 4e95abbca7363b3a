"""Tests of models that evict each other in turn."""

from pathlib import Path

from lmx_daemon.contract.admin.protocol import LoadRequest
from lmx_daemon.contract.errors import LmxError
from lmx_daemon.residency.decisions.loading.turns import HOLD_FACTOR, held_until, returns_of, rivals
from tests.residency.fakes import ONE_FITS, Floor

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


def serve(floor: Floor, model: str) -> None:
    """Answer one request for a model whose load may begin at once."""
    active = floor.ask(model)
    worker = floor.worker(model)
    worker.load()
    worker.finish(active.id)
    floor.release(active)
    floor.loop.settle()


def test_the_third_change_in_a_row_waits_for_a_multiple_of_the_load(tmp_path: Path) -> None:
    floor = Floor(tmp_path, ONE_FITS)
    for model in ("a", "b", "a"):
        serve(floor, model)
    active = floor.ask("b")
    assert floor.states() == {"a": "ready", "b": "starting"}
    assert floor.instance("b").stage == "waiting: a has just taken its place"
    other = floor.ask("a")
    floor.worker("a").finish(other.id)  # meanwhile the model in memory answers
    floor.release(other)
    floor.loop.advance(HOLD_FACTOR * LOAD_SECONDS + 0.1)
    assert floor.worker("b").command is not None
    floor.worker("b").load()
    floor.release(active)
    floor.loop.settle()


def test_alternating_requests_load_no_model_more_often_than_its_hold_allows(tmp_path: Path) -> None:
    floor = Floor(tmp_path, ONE_FITS)
    seconds = 20
    for step in range(seconds * 20):
        active = floor.ask("a" if step % 2 else "b")
        for worker in [each for each in floor.workers if each.alive and each.command is not None]:
            if floor.instance(worker.name).state == "loading":
                worker.load()
            worker.finish()
            floor.loop.settle()
        floor.loop.advance(0.05)
        if active.closed:
            floor.release(active)
    assert 10 < len(floor.workers) <= seconds / (HOLD_FACTOR * LOAD_SECONDS) + 3
    floor.pool.requests.fail(LmxError("the test has ended"))


def test_an_explicit_load_and_a_third_model_do_not_wait(tmp_path: Path) -> None:
    floor = Floor(tmp_path, ONE_FITS)
    for model in ("a", "b", "a"):
        serve(floor, model)
    floor.scheduler.on_load(LoadRequest(model="b"), floor.find("b"))
    floor.loop.settle()
    assert floor.instance("b").state == "loading"
    floor.worker("b").load()
    floor.loop.settle()
    active = floor.ask("c")
    assert floor.instance("c").state == "loading"
    floor.worker("c").load()
    floor.release(active)
    floor.loop.settle()

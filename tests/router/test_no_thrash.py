"""Tests that names do not make models evict each other in turn: random orders of events over fake workers."""

import itertools
import random
from pathlib import Path

import pytest

from lmx_daemon.contract.generation.requests import Generate, Text
from lmx_daemon.residency.requests.active_request import ActiveRequest
from lmx_daemon.settings.schema import RouterSettings
from lmx_daemon.settings.sections.router import Fallthrough
from tests.residency.fakes import ONE_FITS, finish
from tests.router.routing import RoutedHarness

SIZES = {"big": 30, "small": 1}
ALIASES = {"code": ("big", "small"), "title": ("small", "big")}
ALL = RouterSettings().fallthrough
STEPS = 60


class Burst:
    """Clients of two aliases, and workers that load and answer, in a random order. Memory holds one model."""

    def __init__(self, folder: Path, seed: int, fallthrough: tuple[Fallthrough, ...]) -> None:
        self.harness = RoutedHarness(folder, ONE_FITS, SIZES, aliases=ALIASES, fallthrough=fallthrough)
        self.random = random.Random(seed)
        self.numbers = itertools.count()
        self.open: list[ActiveRequest] = []
        self.answered: list[tuple[str, str]] = []
        """Alias and model of each request that was answered."""

    def run(self) -> None:
        for _ in range(STEPS):
            self.random.choice([self.request, self.work, self.work, self.pass_time])()
        for _ in range(STEPS):
            self.work()
            self.pass_time()
        assert not self.open, "every request has an answer"

    def request(self) -> None:
        alias = self.random.choice(list(ALIASES))
        asked = Generate(id=f"r{next(self.numbers)}", model=alias, prompt=Text(text="x"))
        route = finish(self.harness.router.route(asked))
        self.open.append(self.harness.pool.submit(route.applied(asked)))
        self.harness.loop.settle()

    def work(self) -> None:
        """Let one worker take its next step: the end of its load, or the end of all its requests."""
        busy = [each for each in self.harness.workers if each.alive and each.command is not None and not each.leaving]
        if not busy:
            return
        worker = self.random.choice(busy)
        if self.harness.instance(worker.name).state == "loading":
            worker.load()
        else:
            worker.finish()
        self.harness.loop.settle()
        for active in [each for each in self.open if each.closed]:
            self.open.remove(active)
            self.answered.append((active.request.asked, active.request.model))
            self.harness.release(active)

    def pass_time(self) -> None:
        self.harness.tick(0.5)


@pytest.mark.parametrize("seed", range(30))
def test_aliases_that_share_their_models_load_each_of_them_once(tmp_path: Path, seed: int) -> None:
    burst = Burst(tmp_path, seed, ALL)
    burst.run()
    assert len(burst.harness.workers) <= 2, "a model was loaded again"
    large = [place for place, (_, model) in enumerate(burst.answered) if model == "big"]
    assert not large or {model for _, model in burst.answered[large[0] :]} == {"big"}


def test_models_evict_each_other_in_turn_without_the_rule(tmp_path: Path) -> None:
    rules = tuple(each for each in ALL if each != "evicts")
    loads = []
    for seed in range(10):
        folder = tmp_path / str(seed)
        folder.mkdir()
        burst = Burst(folder, seed, rules)
        burst.run()
        loads.append(len(burst.harness.workers))
    assert max(loads) > 4


def test_client_of_the_small_model_gets_the_busy_large_one(tmp_path: Path) -> None:
    harness = RoutedHarness(tmp_path, ONE_FITS, SIZES, aliases=ALIASES)
    busy = harness.ask("big")
    harness.worker("big").load()
    route = finish(harness.router.route(Generate(id="t", model="title", prompt=Text(text="x"))))
    assert (route.model.id, route.reason) == ("big", "alias title; skipped small: evicts")
    harness.release(busy)
    route = finish(harness.router.route(Generate(id="t", model="title", prompt=Text(text="x"))))
    assert route.model.id == "big", "an idle model in memory is used as well"


def test_load_that_waits_for_its_turn_counts_as_in_memory(tmp_path: Path) -> None:
    harness = RoutedHarness(tmp_path, ONE_FITS, SIZES, aliases=ALIASES)
    harness.request("big")  # its files are not inspected yet
    assert harness.states() == {"big": "starting"}
    route = finish(harness.router.route(Generate(id="t", model="title", prompt=Text(text="x"))))
    assert route.model.id == "big"
    harness.loop.settle()

"""Tests of the outlooks of models: what a request for each model would meet."""

import os
from pathlib import Path

import msgspec

from lmx_daemon.contract.generation.requests import Generate, Text
from lmx_daemon.contract.models import Model
from lmx_daemon.residency.decisions.outlook import Outlook
from tests.residency.fakes import GB, ONE_FITS, TWO_FIT, Floor, finish

REQUEST = Generate(id="r", model="a", prompt=Text(text="x"))


def outlook(floor: Floor, model: Model) -> Outlook:
    """Return the outlook of a model. Its files are read in this call."""
    return finish(floor.pool.outlooks.of([model], REQUEST))[model.id]


def test_a_model_fits_in_free_memory_and_evicts_an_idle_model_otherwise(tmp_path: Path) -> None:
    floor = Floor(tmp_path, ONE_FITS)
    assert outlook(floor, floor.find("a")) == Outlook()
    floor.loaded("a")
    assert outlook(floor, floor.find("a")).resident
    assert outlook(floor, floor.find("b")) == Outlook(placing="evicts")


def test_a_busy_model_is_expected_to_be_evicted_once_it_is_idle(tmp_path: Path) -> None:
    floor = Floor(tmp_path, ONE_FITS)
    active = floor.ask("a")
    floor.worker("a").load()
    assert outlook(floor, floor.find("b")).placing == "evicts"
    floor.release(active)
    floor.loop.settle()


def test_a_model_is_refused_that_is_too_large_or_would_evict_a_pinned_model(tmp_path: Path) -> None:
    floor = Floor(tmp_path, ONE_FITS)
    large = floor.find("large")
    with open(Path(large.path) / "model.safetensors", "wb") as file:
        os.truncate(file.fileno(), 50 * GB)
    assert outlook(floor, large).placing == "refused"
    floor.load("a", pin=True)
    floor.worker("a").load()
    floor.loop.settle()
    assert outlook(floor, floor.find("b")).placing == "refused"


def test_a_model_with_a_problem_or_too_many_crashes_is_failing(tmp_path: Path) -> None:
    floor = Floor(tmp_path, TWO_FIT, max_restarts=1)
    broken = msgspec.structs.replace(floor.find("a"), problem="weights are incomplete")
    assert outlook(floor, broken).failing
    active = floor.ask("b")
    floor.worker("b").end()
    floor.release(active)
    assert outlook(floor, floor.find("b")).failing
    floor.loop.advance(floor.settings.current.engine.restart_window_seconds + 1)
    assert not outlook(floor, floor.find("b")).failing


def test_a_model_is_overloaded_for_a_client_that_holds_all_places(tmp_path: Path) -> None:
    floor = Floor(tmp_path, ONE_FITS, max_running=2)
    floor.settings.replace(
        msgspec.structs.replace(
            floor.settings.current, server=msgspec.structs.replace(floor.settings.current.server, max_queued=1)
        )
    )
    active = [floor.ask("a") for _ in range(3)]
    assert outlook(floor, floor.find("a")) == Outlook(resident=True, overloaded=True)
    other = msgspec.structs.replace(REQUEST, tenant="another")
    found = finish(floor.pool.outlooks.of([floor.find("a")], other))["a"]
    assert not found.overloaded, "another client gets a place from the client with the most places"
    floor.worker("a").load()
    floor.release(*active)
    floor.loop.settle()


def test_files_are_read_once_for_each_version_of_a_model(tmp_path: Path) -> None:
    floor = Floor(tmp_path, ONE_FITS)
    model = floor.find("a")
    assert outlook(floor, model).placing == "fits"
    with open(Path(model.path) / "model.safetensors", "wb") as file:
        os.truncate(file.fileno(), 50 * GB)
    assert outlook(floor, model).placing == "fits"
    assert outlook(floor, msgspec.structs.replace(model, modified_at=5.0)).placing == "refused"

"""Tests of the outlooks of models: what a request for each model would meet."""

import os
from pathlib import Path

import msgspec

from lmx_daemon.contract.generation.requests import Generate, Text
from lmx_daemon.contract.models import Model
from lmx_daemon.residency.decisions.outlook import Outlook
from tests.residency.fakes import GB, ONE_FITS, TWO_FIT, Harness, finish

REQUEST = Generate(id="r", model="a", prompt=Text(text="x"))


def outlook(harness: Harness, model: Model) -> Outlook:
    """Return the outlook of a model. Its files are read in this call."""
    return finish(harness.pool.outlooks.of([model], REQUEST))[model.id]


def test_a_model_fits_in_free_memory_and_evicts_an_idle_model_otherwise(tmp_path: Path) -> None:
    harness = Harness(tmp_path, ONE_FITS)
    assert outlook(harness, harness.find("a")) == Outlook()
    harness.loaded("a")
    assert outlook(harness, harness.find("a")).resident
    assert outlook(harness, harness.find("b")) == Outlook(placing="evicts")


def test_a_busy_model_is_expected_to_be_evicted_once_it_is_idle(tmp_path: Path) -> None:
    harness = Harness(tmp_path, ONE_FITS)
    active = harness.ask("a")
    harness.worker("a").load()
    assert outlook(harness, harness.find("b")).placing == "evicts"
    harness.release(active)
    harness.loop.settle()


def test_a_model_is_refused_that_is_too_large_or_would_evict_a_pinned_model(tmp_path: Path) -> None:
    harness = Harness(tmp_path, ONE_FITS)
    large = harness.find("large")
    with open(Path(large.path) / "model.safetensors", "wb") as file:
        os.truncate(file.fileno(), 50 * GB)
    assert outlook(harness, large).placing == "refused"
    harness.load("a", pin=True)
    harness.worker("a").load()
    harness.loop.settle()
    assert outlook(harness, harness.find("b")).placing == "refused"


def test_a_model_with_a_problem_or_too_many_crashes_is_failing(tmp_path: Path) -> None:
    harness = Harness(tmp_path, TWO_FIT, max_restarts=1)
    broken = msgspec.structs.replace(harness.find("a"), problem="weights are incomplete")
    assert outlook(harness, broken).failing
    active = harness.ask("b")
    harness.worker("b").end()
    harness.release(active)
    assert outlook(harness, harness.find("b")).failing
    harness.loop.advance(harness.settings.current.engine.restart_window_seconds + 1)
    assert not outlook(harness, harness.find("b")).failing


def test_a_model_is_overloaded_for_a_client_that_holds_all_places(tmp_path: Path) -> None:
    harness = Harness(tmp_path, ONE_FITS, max_running=2)
    harness.settings.replace(
        msgspec.structs.replace(
            harness.settings.current, server=msgspec.structs.replace(harness.settings.current.server, max_queued=1)
        )
    )
    active = [harness.ask("a") for _ in range(3)]
    assert outlook(harness, harness.find("a")) == Outlook(resident=True, overloaded=True)
    other = msgspec.structs.replace(REQUEST, tenant="another")
    found = finish(harness.pool.outlooks.of([harness.find("a")], other))["a"]
    assert not found.overloaded, "another client gets a place from the client with the most places"
    harness.worker("a").load()
    harness.release(*active)
    harness.loop.settle()


def test_files_are_read_once_for_each_version_of_a_model(tmp_path: Path) -> None:
    harness = Harness(tmp_path, ONE_FITS)
    model = harness.find("a")
    assert outlook(harness, model).placing == "fits"
    with open(Path(model.path) / "model.safetensors", "wb") as file:
        os.truncate(file.fileno(), 50 * GB)
    assert outlook(harness, model).placing == "fits"
    assert outlook(harness, msgspec.structs.replace(model, modified_at=5.0)).placing == "refused"

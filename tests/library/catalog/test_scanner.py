"""Scans: callers share them, and a root that does not answer costs one thread and no lookup."""

import asyncio
import math
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lmx_daemon.contract.errors import ModelNotFoundError
from lmx_daemon.contract.models import Model
from lmx_daemon.library.catalog import catalog as catalog_module
from lmx_daemon.library.catalog import scanner as scanner_module
from lmx_daemon.library.catalog.catalog import Catalog
from lmx_daemon.library.catalog.roots import ModelRoot
from lmx_daemon.library.catalog.scanner import Scan, Scanner
from tests.library.repositories import make_cached, make_folder


class Disk:
    """A stand-in for a mount. While it hangs, the description of `maker/slow` does not return."""

    def __init__(self) -> None:
        self.responses = threading.Event()
        self.responses.set()
        self.reads = 0

    def complete(self, model: Model) -> Model:
        if model.id == "maker/slow":
            self.reads += 1
            self.responses.wait(30)
        return model


@pytest.fixture
def disk() -> Iterator[Disk]:
    disk = Disk()
    yield disk
    disk.responses.set()


@pytest.fixture
def catalog(tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    monkeypatch.setattr(catalog_module, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(catalog_module, "REFRESH_SECONDS", 0.5)
    make_cached(tmp_path / "cache", "maker/slow")
    make_folder(tmp_path / "mine" / "one")
    places = [ModelRoot("hub", tmp_path / "cache"), ModelRoot("folder", tmp_path / "mine")]
    found = Catalog({}, places, complete=disk.complete, hung_seconds=0.3)
    found.refresh()
    return found


async def test_lookups_of_an_unknown_name_share_scans(
    catalog: Catalog, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog_module, "PATIENCE_SECONDS", 60.0)
    disk.responses.clear()
    before = disk.reads
    lookups = [asyncio.create_task(catalog.seek("no/such")) for _ in range(200)]
    while disk.reads == before:
        await asyncio.sleep(0.01)
    disk.responses.set()
    answers = await asyncio.gather(*lookups, return_exceptions=True)
    assert {type(answer) for answer in answers} == {ModelNotFoundError}
    assert disk.reads - before <= 2


def test_scan_begins_soon_after_a_short_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanner_module, "EVERY_SECONDS", 3600.0)
    scanner = Scanner(lambda scan: None)
    scanner.request(urgent=True).result(60)
    scanner.request(urgent=False).result(60)


def test_scan_begins_a_second_after_a_long_one() -> None:
    begun: list[float] = []

    def work(scan: Scan) -> None:
        begun.append(time.monotonic())
        time.sleep(0.06)

    scanner = Scanner(work)
    scanner.request(urgent=True).result(60)
    scanner.request(urgent=False).result(60)
    assert begun[1] - begun[0] >= scanner_module.EVERY_SECONDS - 0.05


async def test_listing_shares_the_scan_that_runs_already(
    catalog: Catalog, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog_module, "FRESH_SECONDS", 3600.0)
    monkeypatch.setattr(catalog_module, "PATIENCE_SECONDS", 60.0)
    catalog._listed_at = -math.inf
    disk.responses.clear()
    before = disk.reads
    first = asyncio.create_task(catalog.rescan(urgent=True))
    while disk.reads == before:
        await asyncio.sleep(0.01)
    second = asyncio.create_task(catalog.listing())
    await asyncio.sleep(0)
    disk.responses.set()
    await first
    assert "maker/slow" in {model.id for model in await second} and disk.reads == before + 1


async def test_new_model_is_found_at_once(catalog: Catalog, tmp_path: Path) -> None:
    catalog_module.PATIENCE_SECONDS = 5.0
    make_folder(tmp_path / "mine" / "new")
    assert (await catalog.seek("local/new")).id == "local/new"


async def test_known_models_are_found_while_a_scan_hangs(catalog: Catalog, disk: Disk, tmp_path: Path) -> None:
    disk.responses.clear()
    begun = time.monotonic()
    with pytest.raises(ModelNotFoundError):
        await catalog.seek("no/such")
    assert time.monotonic() - begun < 1.5
    begun = time.monotonic()
    assert (await catalog.seek("local/one")).id == "local/one"
    assert (await catalog.seek("maker/slow")).id == "maker/slow"
    assert {model.id for model in catalog.known()} == {"lmx/guide", "local/one", "maker/slow"}
    assert time.monotonic() - begun < 0.05
    assert len(await catalog.listing()) == 3


async def test_root_that_hangs_is_left_out_until_it_answers(catalog: Catalog, disk: Disk, tmp_path: Path) -> None:
    others = set(threading.enumerate())
    disk.responses.clear()
    await catalog.rescan(urgent=True)
    await asyncio.sleep(0.4)
    make_folder(tmp_path / "mine" / "new")
    for _ in range(5):
        await catalog.rescan(urgent=True)
    assert (await catalog.seek("local/new")).id == "local/new"
    assert catalog.find("maker/slow").id == "maker/slow"
    async with asyncio.timeout(10):  # a scan that a busy machine slowed down may be abandoned, too; its thread ends
        while sum(thread.name == "library-scan" for thread in {*threading.enumerate()} - others) > 2:
            await asyncio.sleep(0.05)
    reads = disk.reads
    disk.responses.set()
    async with asyncio.timeout(10):
        while disk.reads == reads:
            await catalog.rescan(urgent=True)
    assert {model.id for model in catalog.known()} == {"lmx/guide", "local/one", "local/new", "maker/slow"}


def test_expensive_listing_is_refreshed_less_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def compute(model: Model) -> Model:
        begun = time.thread_time()
        while time.thread_time() - begun < 0.05:
            pass
        return model

    make_folder(tmp_path / "one")
    catalog = Catalog({}, [ModelRoot("folder", tmp_path)], complete=compute)
    catalog.refresh()
    assert not catalog.refresh_due()
    catalog.known()
    assert not catalog.refresh_due()
    monkeypatch.setattr(catalog_module, "SCAN_SHARE", 1000.0)
    assert catalog.refresh_due()
    catalog.refresh()
    assert not catalog.refresh_due()

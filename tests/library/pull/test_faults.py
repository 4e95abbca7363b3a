"""Faults of the stand-in Hub, for files of three sizes: the pull survives, or fails with nothing visible."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from lmx_daemon.contract.admin.library.pulls import Download, PullRequest
from lmx_daemon.library.pull.pull_queue import PullQueue
from lmx_daemon.settings.schema import LibrarySettings
from tests.library.conftest import REPO, StandIn
from tests.library.pull.pulling import folder_of, partials, pull, visible

SIZES = {"sizes/small": 5_000, "sizes/middle": 1_200_000, "sizes/large": 4_000_000}
FILES = ["config.json", "model.safetensors"]


@pytest.fixture(scope="module")
def three(hub_process: StandIn) -> dict[str, bytes]:
    """Make three repositories, and return their weights."""
    weights = {}
    for repo, size in SIZES.items():
        folder = hub_process.root / repo
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({"model_type": "llama", "repo": repo}))
        weights[repo] = os.urandom(size)
        (folder / "model.safetensors").write_bytes(weights[repo])
    return weights


@pytest.fixture
def together(environ: dict[str, str], tmp_path: Path, three: dict[str, bytes]) -> PullQueue:
    """Return a queue that runs all pulls at the same time with little patience."""
    settings = LibrarySettings(reserve_bytes=0, pulls_at_once=3, patience_seconds=2.0)
    return PullQueue(lambda: settings, environ, tmp_path / "records")


async def pull_all(pulls: PullQueue) -> dict[str, Download]:
    return dict(zip(SIZES, await asyncio.gather(*(pull(pulls, repo) for repo in SIZES)), strict=True))


def assert_whole(environ: dict[str, str], three: dict[str, bytes]) -> None:
    for repo, content in three.items():
        assert visible(environ, repo) == FILES
        assert next(folder_of(environ, repo).glob("snapshots/*/model.safetensors")).read_bytes() == content
        assert not partials(environ, repo) and not list(folder_of(environ, repo).glob(".lmx/quarantine/*"))


@pytest.mark.parametrize(
    "faults",
    [
        {"rate": 10_000_000},
        {"drop_after": 0.4, "drop_times": 2},
        {"drop_after": 0.4, "ignore_range": True},
        {"drop_after": 0.4, "shift_range": 7},
        {"truncate_to": 0.6},
        {"corrupt_at": 0.5, "corrupt_times": 1},
        {"append": 1000},
        {"stall_after": 0.3, "stall_seconds": 0.3},
        {"status": 408, "status_on": "/cdn"},
        {"status": 429, "status_on": "/cdn", "retry_after": 1},
        {"status": 500, "status_on": "/cdn"},
        {"status": 503, "status_on": "/", "status_times": 1},
        {"etag": "../../../../evil", "no_commit": True, "encoding": "gzip"},
        {"cache_redirect": True, "xet": True},
    ],
    ids=lambda faults: "-".join(f"{name}={value}" for name, value in faults.items())[:40],
)
async def test_pull_survives_a_transient_fault(
    faults: dict[str, Any], together: PullQueue, hub: StandIn, environ: dict[str, str], three: dict[str, bytes]
) -> None:
    hub.faults(**faults)
    for repo, done in (await pull_all(together)).items():
        assert (done.state, done.error) == ("done", None), repo
        assert done.done == done.total and done.files_done == 2
        bad = {"status", "drop_after", "truncate_to", "corrupt_at"} & faults.keys()
        assert bool(done.retries) == bool(bad), "a fault that happened is counted"
    assert_whole(environ, three)
    assert not list(Path(environ["HF_HUB_CACHE"]).parent.rglob("*evil*"))


@pytest.mark.parametrize(
    ("faults", "code"),
    [
        ({"corrupt_at": 0.5}, "hash_mismatch"),
        ({"oid": "0" * 64}, "hash_mismatch"),
        ({"size": 1000}, "hash_mismatch"),
        ({"size": 5_000_000}, "hash_mismatch"),
        ({"size": -1}, "untrusted_model"),
        ({"size": 10**18}, "untrusted_model"),
        ({"oid": "../../../evil"}, "untrusted_model"),
        ({"commit": "../../evil"}, "hub_error"),
        ({"gated": True}, "invalid_api_key"),
        ({"status": 401, "status_on": "/sizes", "status_times": 99}, "invalid_api_key"),
        ({"status": 403, "status_on": "/sizes", "status_times": 99}, "invalid_api_key"),
        ({"status": 403, "status_on": "/cdn", "status_times": 99}, "hub_error"),
        ({"status": 404, "status_on": "/cdn", "status_times": 99}, "not_found"),
        ({"status": 416, "status_on": "/cdn", "status_times": 99}, "hub_error"),
        ({"status": 418, "status_on": "/cdn", "status_times": 99}, "hub_error"),
        ({"status": 503, "status_on": "/cdn", "status_times": 99}, "hub_error"),
        ({"location": "http://127.0.0.1:9/nothing"}, "hub_error"),
        ({"location": "file:///etc/passwd"}, "hub_error"),
        ({"location": "/sizes/x/resolve/main/model.safetensors"}, "not_found"),
    ],
    ids=lambda value: "-".join(f"{k}={v}" for k, v in value.items())[:40] if isinstance(value, dict) else value,
)
async def test_permanent_fault_fails_with_its_error_and_a_retry_succeeds(
    faults: dict[str, Any],
    code: str,
    together: PullQueue,
    hub: StandIn,
    environ: dict[str, str],
    three: dict[str, bytes],
    tmp_path: Path,
) -> None:
    hub.faults(**faults)
    for repo, failed in (await pull_all(together)).items():
        assert failed.state == "failed" and failed.error is not None, repo
        assert failed.error.code == code, failed.error
        assert any(word in failed.error.message for word in (repo, ".safetensors", "config.json", "127.0.0.1", "evil"))
        assert visible(environ, repo) == [] and not list(folder_of(environ, repo).glob("refs/*"))
    assert not [path for path in tmp_path.rglob("*") if "evil" in path.name]
    hub.faults()
    for done in (await pull_all(together)).values():
        assert (done.state, done.error) == ("done", None)
    assert_whole(environ, three)


@pytest.mark.parametrize(
    "path",
    [
        "../../evil.safetensors",
        "/tmp/evil.safetensors",
        "..",
        "a/../../evil.safetensors",
        "a/./evil.safetensors",
        "a//evil.safetensors",
        "evil\0.safetensors",
        "evil\n.safetensors",
        "evil\x1b[2J.safetensors",
        "..\\evil.safetensors",
        "evil" * 80 + ".safetensors",
        "evil/" * 300 + "x.safetensors",
        "config.json/evil.safetensors",
        "CONFIG.json",
    ],
    ids=lambda path: repr(path)[1:25],
)
async def test_hostile_file_name_is_refused(
    path: str, pulls: PullQueue, hub: StandIn, environ: dict[str, str], tmp_path: Path
) -> None:
    hub.faults(evil_path=path)
    failed = await pull(pulls, include=("*",))
    assert failed.state == "failed" and failed.error is not None
    assert failed.error.code in ("untrusted_model", "hub_error")
    assert visible(environ) == []
    assert (
        not [file for file in tmp_path.rglob("*") if "evil" in file.name] and not Path("/tmp/evil.safetensors").exists()
    )


async def test_unusual_but_safe_names_are_pulled(pulls: PullQueue, hub: StandIn, environ: dict[str, str]) -> None:
    names = ["größe.json", "模型.json", "with space & more %20#?.json", "x" * 200 + ".json", ".hidden.json"]
    for name in names:
        (hub.root / REPO / name).write_text(name)
    done = await pull(pulls)
    for name in names:
        (hub.root / REPO / name).unlink()
    assert (done.state, done.error) == ("done", None)
    (snapshot,) = folder_of(environ).glob("snapshots/*")
    assert [(snapshot / name).read_text() for name in names] == names


class TestDisks:
    async def test_pull_stops_when_other_programs_fill_the_disk(
        self, hub: StandIn, environ: dict[str, str], tmp_path: Path
    ) -> None:
        """The reserve is checked during the pull, and the fetched bytes are kept."""
        left = [10**9]
        settings = LibrarySettings(reserve_bytes=10**6)
        pulls = PullQueue(lambda: settings, environ, tmp_path / "records", free=lambda _: left[0])
        hub.faults(rate=2_500_000)
        job = await pulls.start(PullRequest(repo=REPO))
        while pulls.get(job.id).done < 500_000:
            await asyncio.sleep(0.02)
        left[0] = 1000
        failed = await pull(pulls)
        assert failed.error is not None and failed.error.code == "disk_error" and "nearly full" in failed.error.message
        assert visible(environ) == [] and partials(environ)
        left[0] = 10**9
        hub.faults()
        done = await pull(pulls)
        assert done.state == "done" and done.resumed >= 500_000

    @pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
    async def test_full_disk_fails_with_a_disk_error(
        self, together: PullQueue, hub: StandIn, environ: dict[str, str], tmp_path: Path
    ) -> None:
        small = tmp_path / "cache"
        small.mkdir()
        mounting = await asyncio.create_subprocess_exec("mount", "-t", "tmpfs", "-o", "size=3m", "none", str(small))
        if await mounting.wait():
            pytest.skip("mounting is not allowed")
        try:
            pulls = PullQueue(
                lambda: LibrarySettings(reserve_bytes=0), environ, tmp_path / "records", free=lambda _: 10**12
            )  # it is not seen before
            failed = await pull(pulls, "sizes/large")
            assert failed.error is not None and failed.error.message == "the disk is full"
            assert visible(environ, "sizes/large") == []
            for partial in partials(environ, "sizes/large"):
                partial.unlink()
            assert (await pull(pulls, "sizes/middle")).state == "done"
        finally:
            unmounting = await asyncio.create_subprocess_exec("umount", "-l", str(small))
            await unmounting.wait()

    async def test_cache_that_is_a_file_fails_with_a_disk_error(
        self, pulls: PullQueue, hub: StandIn, environ: dict[str, str]
    ) -> None:
        Path(environ["HF_HUB_CACHE"]).write_text("in the way")
        failed = await pull(pulls)
        assert failed.error is not None and failed.error.code == "disk_error" and "in the way" in failed.error.message

    async def test_folder_in_place_of_a_partial_file_fails_with_a_disk_error(
        self, pulls: PullQueue, hub: StandIn, environ: dict[str, str]
    ) -> None:
        hub.faults(rate=2_500_000)
        job = await pulls.start(PullRequest(repo=REPO))
        while pulls.get(job.id).done < 200_000:
            await asyncio.sleep(0.01)
        await pulls.pause(job.id)
        (partial,) = partials(environ)
        partial.unlink()
        partial.mkdir()
        hub.faults()
        failed = await pull(pulls)
        assert failed.state == "failed" and failed.error is not None and failed.error.code == "disk_error"
        partial.rmdir()
        partial.symlink_to("/etc/passwd")
        assert (await pull(pulls)).state == "failed", "a link is not followed"
        partial.unlink()
        assert (await pull(pulls)).state == "done"

    async def test_removed_repository_folder_fails_and_is_pulled_again(
        self, pulls: PullQueue, hub: StandIn, environ: dict[str, str]
    ) -> None:
        hub.faults(rate=2_500_000)
        job = await pulls.start(PullRequest(repo=REPO))
        while pulls.get(job.id).done < 200_000:
            await asyncio.sleep(0.01)
        folder_of(environ).rename(folder_of(environ).with_name("elsewhere"))
        failed = await pull(pulls)
        assert failed.id == job.id and failed.error is not None and "removed" in failed.error.message
        hub.faults()
        assert (await pull(pulls)).state == "done"

    async def test_cache_that_cannot_be_written_fails_with_a_disk_error(
        self, environ: dict[str, str], pulls: PullQueue, hub: StandIn, tmp_path: Path
    ) -> None:
        """A file is in the place of the folder. Permissions would not stop root, which may run the tests."""
        cache = Path(environ["HF_HUB_CACHE"])
        cache.write_text("in the way")
        failed = await pull(pulls)
        assert failed.state == "failed" and failed.error is not None and str(cache) in failed.error.message

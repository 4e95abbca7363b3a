"""Pulls against the stand-in Hub: proved by hash, resumed, refused where they must be."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lmx_daemon.contract.config import LibrarySettings
from lmx_daemon.contract.errors import JobNotFoundError, RequestError
from lmx_daemon.contract.types import Download, PullRequest
from lmx_daemon.library.catalog import Catalog
from lmx_daemon.library.download import Pulls
from lmx_daemon.library.hub import repository_of
from tests.library.conftest import REPO, StandIn

PULL_PROGRAM = """
import asyncio, os, sys
from lmx_daemon.contract.config import LibrarySettings
from lmx_daemon.contract.types import PullRequest
from lmx_daemon.library.download import Pulls
async def main():
    pulls = Pulls(LibrarySettings(reserve_bytes=0), os.environ)
    job = await pulls.start(PullRequest(repo=sys.argv[1]))
    async for job in pulls.watch(job.id):
        pass
    print(job.state, job.error)
asyncio.run(main())
"""


async def pull(pulls: Pulls, repo: str = REPO, revision: str | None = None) -> Download:
    last = await pulls.start(PullRequest(repo=repo, revision=revision))
    async for told in pulls.watch(last.id):
        last = told
    return last


def cache_of(environ: dict[str, str]) -> Path:
    return Path(environ["HF_HUB_CACHE"]) / "models--maker--tiny"


def visible(environ: dict[str, str]) -> list[str]:
    """What another tool would see of the repository."""
    return sorted(file.name for file in cache_of(environ).glob("snapshots/*/*"))


class TestAGoodPull:
    async def test_it_arrives_whole_and_says_what_it_left_out(self, pulls: Pulls, environ: dict[str, str]) -> None:
        done = await pull(pulls)
        assert (done.state, done.error) == ("done", None)
        assert done.files_done == done.files_total == 4
        assert done.done == done.total
        assert done.skipped == ("training_args.bin",)
        assert visible(environ) == ["README.md", "config.json", "model.safetensors", "tokenizer.json"]
        assert not list(cache_of(environ).glob("blobs/*.incomplete"))

    async def test_the_hubs_own_tools_accept_it(self, pulls: Pulls, environ: dict[str, str], hub: StandIn) -> None:
        from huggingface_hub import scan_cache_dir, snapshot_download

        await pull(pulls)
        info = scan_cache_dir(environ["HF_HUB_CACHE"])
        assert [repo.repo_id for repo in info.repos] == [REPO] and not info.warnings
        folder = snapshot_download(REPO, cache_dir=environ["HF_HUB_CACHE"], local_files_only=True)
        assert (Path(folder) / "model.safetensors").read_bytes() == (hub.root / REPO / "model.safetensors").read_bytes()

    async def test_the_catalog_finds_it(self, pulls: Pulls, environ: dict[str, str]) -> None:
        await pull(pulls)
        model = Catalog(environ).find("tiny")
        assert model.id == REPO and model.context_length == 2048 and model.problem is None
        assert model.parameters == 810_000

    async def test_a_second_pull_fetches_nothing(self, pulls: Pulls, hub: StandIn) -> None:
        await pull(pulls)
        hub.requests()
        assert (await pull(pulls)).state == "done"
        assert not [r for r in hub.requests() if "/resolve/" in r["path"] or "/cdn/" in r["path"]]

    async def test_the_same_repository_twice_is_one_job(self, pulls: Pulls, hub: StandIn) -> None:
        hub.faults(rate=2_000_000)
        first = await pulls.start(PullRequest(repo=REPO))
        second = await pulls.start(PullRequest(repo=f"https://huggingface.co/{REPO}/tree/main"))
        assert first.id == second.id
        await pulls.close()

    async def test_the_token_goes_to_the_hub_and_nowhere_else(
        self, pulls: Pulls, hub: StandIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        assert (await pull(pulls)).state == "done"
        asked = hub.requests()
        assert any(r["auth"] for r in asked if "/resolve/" in r["path"])
        assert not any(r["auth"] for r in asked if r["path"].startswith("/cdn/"))


class TestFaults:
    @pytest.mark.parametrize(
        "faults",
        [
            {"drop_after": 500_000, "drop_times": 3},
            {"status": 503, "status_on": "/cdn", "status_times": 2},
            {"status": 429, "status_on": "/cdn", "status_times": 1, "retry_after": 1},
            {"drop_after": 500_000, "drop_times": 1, "ignore_range": True},
            {"etag": "../../../../evil"},
            {"cache_redirect": True},
            {"no_commit": True},
        ],
        ids=lambda faults: "-".join(faults),
    )
    async def test_it_survives(
        self, faults: dict[str, Any], pulls: Pulls, hub: StandIn, environ: dict[str, str]
    ) -> None:
        hub.faults(**faults)
        done = await pull(pulls)
        assert (done.state, done.error) == ("done", None)
        assert len(visible(environ)) == 4
        assert not list(Path(environ["HF_HUB_CACHE"]).parent.rglob("*evil*"))

    async def test_a_wrong_byte_is_found_and_nothing_appears(
        self, pulls: Pulls, hub: StandIn, environ: dict[str, str]
    ) -> None:
        hub.faults(corrupt_at=1_000_000)
        failed = await pull(pulls)
        assert failed.state == "failed" and failed.error is not None
        assert failed.error.code == "hash_mismatch" and "model.safetensors" in failed.error.message
        assert visible(environ) == []
        hub.faults()
        assert (await pull(pulls)).state == "done"

    async def test_a_flipped_byte_in_what_was_kept_is_mended(
        self, pulls: Pulls, hub: StandIn, environ: dict[str, str]
    ) -> None:
        await self._interrupted(pulls, hub)
        (partial,) = cache_of(environ).glob("blobs/*.incomplete")
        content = bytearray(partial.read_bytes())
        content[1000] ^= 0xFF
        partial.write_bytes(content)
        hub.faults()
        assert (await pull(pulls)).state == "done"

    async def test_a_cancelled_pull_goes_on_where_it_stopped(self, pulls: Pulls, hub: StandIn) -> None:
        kept = await self._interrupted(pulls, hub)
        hub.faults()
        hub.requests()
        done = await pull(pulls)
        assert done.state == "done" and done.resumed == kept > 0
        assert [r["range"] for r in hub.requests() if r["path"].startswith("/cdn/")] == [f"bytes={kept}-"]

    async def test_a_hub_that_is_not_there(self, environ: dict[str, str]) -> None:
        pulls = Pulls(LibrarySettings(), environ | {"HF_ENDPOINT": "http://127.0.0.1:9"})
        failed = await pull(pulls)
        assert failed.error is not None and failed.error.code == "hub_error"

    async def test_gated(self, pulls: Pulls, hub: StandIn) -> None:
        hub.faults(gated=True)
        failed = await pull(pulls)
        assert failed.error is not None and "log in" in (failed.error.hint or "")

    async def test_no_such_repository(self, pulls: Pulls, hub: StandIn) -> None:
        failed = await pull(pulls, "maker/nothing")
        assert failed.error is not None and failed.error.code == "not_found"

    async def test_no_such_revision(self, pulls: Pulls, hub: StandIn) -> None:
        failed = await pull(pulls, revision="v9")
        assert failed.error is not None and "v9" in failed.error.message

    async def test_an_evil_path(self, pulls: Pulls, hub: StandIn, environ: dict[str, str]) -> None:
        hub.faults(evil_path="../../evil.safetensors")
        failed = await pull(pulls)
        assert failed.error is not None and failed.error.code == "untrusted_model"
        assert not list(Path(environ["HF_HUB_CACHE"]).parent.rglob("evil*"))

    async def test_gguf_only_is_refused_before_the_bytes(self, pulls: Pulls, hub: StandIn) -> None:
        folder = hub.root / "maker" / "gguf"
        folder.mkdir(exist_ok=True)
        (folder / "model.gguf").write_bytes(b"GGUF")
        failed = await pull(pulls, "maker/gguf")
        assert failed.error is not None and "MLX" in failed.error.message
        assert not [r for r in hub.requests() if "/resolve/" in r["path"]]
        shutil.rmtree(folder)

    async def test_a_disk_that_is_too_small(self, hub: StandIn, environ: dict[str, str]) -> None:
        failed = await pull(Pulls(LibrarySettings(reserve_bytes=10**18), environ))
        assert failed.error is not None and "free" in failed.error.message

    async def test_a_cache_that_is_a_file(self, hub: StandIn, environ: dict[str, str]) -> None:
        Path(environ["HF_HUB_CACHE"]).write_text("in the way")
        failed = await pull(Pulls(LibrarySettings(), environ))
        assert failed.error is not None and failed.error.code == "hub_error"

    async def _interrupted(self, pulls: Pulls, hub: StandIn) -> int:
        """Stops a pull in the middle of its weights; the bytes that are kept."""
        hub.faults(rate=1_500_000)
        job = await pulls.start(PullRequest(repo=REPO))
        while pulls.get(job.id).done < 800_000:
            await asyncio.sleep(0.02)
        assert (await pulls.cancel(job.id)).state == "cancelled"
        (partial,) = pulls._cache.glob("models--maker--tiny/blobs/*.incomplete")
        return partial.stat().st_size


def killed_pull(environ: dict[str, str], seconds: float) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", PULL_PROGRAM, REPO],
        env=os.environ | environ,
        stdout=subprocess.PIPE,
        text=True,
    )
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process


async def test_kill_at_any_moment(hub: StandIn, environ: dict[str, str], pulls: Pulls) -> None:
    hub.faults(rate=3_000_000)
    for seconds in (0.5, 0.9, 1.2):
        killed_pull(environ, seconds)
        assert visible(environ) in ([], ["README.md", "config.json", "model.safetensors", "tokenizer.json"])
    hub.faults()
    assert (await pull(pulls)).state == "done"
    config = json.loads((next(cache_of(environ).glob("snapshots/*")) / "config.json").read_text())
    assert config["model_type"] == "llama"


async def test_two_processes_fetch_once(hub: StandIn, environ: dict[str, str]) -> None:
    hub.faults(rate=4_000_000)
    command = [sys.executable, "-c", PULL_PROGRAM, REPO]
    both = [subprocess.Popen(command, env=os.environ | environ, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate(timeout=30)[0].split()[0] for process in both] == ["done", "done"]
    assert len([r for r in hub.requests() if r["path"].startswith("/cdn/")]) == 1


@pytest.mark.parametrize("name", ["", "x", "a/b/c", "../x", "a/..", "a/b\n", "http://evil.example/a/b", "a b/c", "-/x"])
def test_what_is_no_repository(name: str) -> None:
    with pytest.raises(RequestError):
        repository_of(name)


def test_a_pasted_url_is_understood() -> None:
    assert repository_of("https://huggingface.co/mlx-community/Qwen3-0.6B-4bit/tree/main") == (
        "mlx-community/Qwen3-0.6B-4bit"
    )


def test_an_unknown_job(pulls: Pulls) -> None:
    with pytest.raises(JobNotFoundError):
        pulls.get("nobody")

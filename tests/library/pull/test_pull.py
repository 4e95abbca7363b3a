"""Pulls without faults, and refusals before a byte is fetched."""

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from lmx_daemon.contract.admin.library.pulls import PullRequest
from lmx_daemon.library.catalog.catalog import Catalog
from lmx_daemon.library.disk.layout import manifest_file
from lmx_daemon.library.pull.pull_queue import PullQueue
from lmx_daemon.library.verify.manifest import read_manifest
from lmx_daemon.settings.schema import LibrarySettings
from tests.library.conftest import REPO, StandIn
from tests.library.pull.pulling import WHOLE, folder_of, partials, pull, visible
from tests.library.repositories import git_sha1


def bytes_asked_for(hub: StandIn) -> list[str]:
    return [r["path"] for r in hub.requests() if "/resolve/" in r["path"] or "/cdn/" in r["path"]]


class TestPull:
    async def test_pull_is_complete_and_lists_skipped_files(self, pulls: PullQueue, environ: dict[str, str]) -> None:
        done = await pull(pulls)
        assert (done.state, done.error) == ("done", None)
        assert done.files_done == done.files_total == 4
        assert done.done == done.total
        assert done.skipped == ("training_args.bin",)
        assert visible(environ) == WHOLE and not partials(environ)

    async def test_manifest_is_stored(self, pulls: PullQueue, environ: dict[str, str], hub: StandIn) -> None:
        done = await pull(pulls)
        assert done.revision is not None
        manifest = read_manifest(manifest_file(folder_of(environ), done.revision))
        assert manifest is not None and manifest.proved_at is not None
        assert (manifest.repo, manifest.endpoint, manifest.skipped) == (REPO, hub.endpoint, ("training_args.bin",))
        for file in manifest.files:
            link = folder_of(environ) / "snapshots" / manifest.commit / file.path
            assert link.resolve().name == file.blob and link.stat().st_size == file.size
            assert link.stat().st_mtime_ns == file.modified_ns

    async def test_huggingface_hub_accepts_the_result(
        self, pulls: PullQueue, environ: dict[str, str], hub: StandIn
    ) -> None:
        from huggingface_hub import HfApi, scan_cache_dir, snapshot_download

        await pull(pulls)
        info = scan_cache_dir(environ["HF_HUB_CACHE"])
        assert [repo.repo_id for repo in info.repos] == [REPO] and not info.warnings and not info.incomplete_files
        folder = snapshot_download(REPO, cache_dir=environ["HF_HUB_CACHE"], local_files_only=True)
        assert (Path(folder) / "model.safetensors").read_bytes() == (hub.root / REPO / "model.safetensors").read_bytes()
        verified = HfApi(endpoint=hub.endpoint).verify_repo_checksums(REPO, cache_dir=environ["HF_HUB_CACHE"])
        assert not verified.mismatches

    async def test_catalog_finds_the_model(self, pulls: PullQueue, environ: dict[str, str]) -> None:
        await pull(pulls)
        model = Catalog(environ).locate("tiny")
        assert model.id == REPO and model.context_length == 2048 and model.problem is None
        assert model.parameters == 810_000

    async def test_second_pull_fetches_and_hashes_nothing(self, pulls: PullQueue, hub: StandIn) -> None:
        await pull(pulls)
        hub.requests()
        again = await pull(pulls)
        assert again.state == "done" and again.to_check == 0 and again.done == again.total
        assert not bytes_asked_for(hub)

    async def test_blob_of_another_program_is_hashed_and_used(
        self, pulls: PullQueue, hub: StandIn, environ: dict[str, str]
    ) -> None:
        from huggingface_hub import snapshot_download

        snapshot_download(REPO, cache_dir=environ["HF_HUB_CACHE"], endpoint=hub.endpoint)
        hub.requests()
        done = await pull(pulls)
        assert done.state == "done" and done.to_check == done.checked == done.resumed == done.total
        assert not bytes_asked_for(hub)

    async def test_damaged_blob_of_another_program_is_fetched_again(
        self, pulls: PullQueue, hub: StandIn, environ: dict[str, str]
    ) -> None:
        from huggingface_hub import snapshot_download

        folder = Path(snapshot_download(REPO, cache_dir=environ["HF_HUB_CACHE"], endpoint=hub.endpoint))
        blob = (folder / "model.safetensors").resolve()
        content = bytearray(good := blob.read_bytes())
        content[len(content) // 2] ^= 0xFF
        blob.write_bytes(content)
        done = await pull(pulls)
        assert done.state == "done" and done.retries == 1 and done.done == done.total
        assert blob.read_bytes() == good

    @pytest.mark.parametrize("harm", ["written to", "deleted"])
    async def test_change_of_a_verified_file_during_the_pull_is_detected(
        self, harm: str, pulls: PullQueue, hub: StandIn, environ: dict[str, str]
    ) -> None:
        hub.faults(rate=3_000_000)
        job = await pulls.start(PullRequest(repo=REPO))
        good = (hub.root / REPO / "config.json").read_bytes()
        blob = folder_of(environ) / "blobs" / git_sha1(good)
        async with asyncio.timeout(20):
            while pulls.get(job.id).done < 500_000:
                await asyncio.sleep(0.01)
        if harm == "deleted":
            blob.unlink()
        else:
            blob.write_bytes(good.replace(b"llama", b"LLAMA"))
        assert visible(environ) == []
        last = [update async for update in pulls.watch(job.id)][-1]
        assert (last.state, last.error, last.done) == ("done", None, last.total)
        assert next(folder_of(environ).glob("snapshots/*/config.json")).read_bytes() == good

    async def test_second_request_for_a_repository_is_the_same_pull(self, pulls: PullQueue, hub: StandIn) -> None:
        hub.faults(rate=2_000_000)
        first = await pulls.start(PullRequest(repo=REPO))
        second = await pulls.start(PullRequest(repo=f"https://huggingface.co/{REPO}/tree/main"))
        third = await pulls.start(PullRequest(repo=f"{REPO}@main"))
        assert first.id == second.id == third.id
        await pulls.close()

    async def test_two_files_with_the_same_bytes_are_one_blob(
        self, pulls: PullQueue, hub: StandIn, environ: dict[str, str]
    ) -> None:
        folder = hub.root / "maker" / "twins"
        shutil.copytree(hub.root / REPO, folder)
        shutil.copy(folder / "model.safetensors", folder / "model-2.safetensors")
        done = await pull(pulls, "maker/twins")
        assert done.state == "done" and done.files_done == 5 and done.done == done.total
        assert len([path for path in bytes_asked_for(hub) if path.startswith("/cdn/")]) == 1
        assert len(visible(environ, "maker/twins")) == 5
        shutil.rmtree(folder)

    async def test_empty_file_is_pulled(self, pulls: PullQueue, hub: StandIn, environ: dict[str, str]) -> None:
        (hub.root / REPO / "special_tokens_map.json").write_bytes(b"")
        assert (await pull(pulls)).state == "done"
        (hub.root / REPO / "special_tokens_map.json").unlink()
        assert "special_tokens_map.json" in visible(environ)

    async def test_pull_of_a_commit_writes_no_ref(self, pulls: PullQueue, environ: dict[str, str]) -> None:
        commit = (await pull(pulls)).revision
        shutil.rmtree(folder_of(environ))
        done = await pull(pulls, f"{REPO}@{commit}")
        assert done.state == "done" and done.revision == commit
        assert not (folder_of(environ) / "refs").exists() and visible(environ) == WHOLE


class TestSelection:
    async def test_second_pull_adds_the_remaining_files(self, pulls: PullQueue, environ: dict[str, str]) -> None:
        """A second pull of the same commit adds files to the snapshot and to its manifest."""
        done = await pull(pulls, include=("*.bin",))
        assert done.state == "done" and visible(environ) == ["training_args.bin"]
        assert "model.safetensors" in done.skipped
        done = await pull(pulls, exclude=("README*",))
        assert visible(environ) == ["config.json", "model.safetensors", "tokenizer.json", "training_args.bin"]
        assert done.revision is not None
        manifest = read_manifest(manifest_file(folder_of(environ), done.revision))
        assert manifest is not None and sorted(file.path for file in manifest.files) == visible(environ)
        assert manifest.skipped == ("README.md",)

    async def test_patterns_without_a_match_fail(self, pulls: PullQueue) -> None:
        failed = await pull(pulls, include=("*.onnx",))
        assert failed.error is not None and failed.error.code == "invalid_request"

    @pytest.mark.parametrize(
        ("files", "message"),
        [
            ({"model.gguf": "GGUF"}, "GGUF"),
            ({"pytorch_model.bin": "x", "config.json": "{}"}, "pickles"),
            ({"config.json": "{}"}, "no safetensors"),
            ({"adapters.safetensors": "x"}, "no config.json"),
            ({"unet/model.safetensors": "x", "model_index.json": "{}"}, "in folders only"),
        ],
        ids=["gguf", "pickles", "nothing", "adapter", "diffusers"],
    )
    async def test_unsupported_repository_is_refused_before_any_file(
        self, files: dict[str, str], message: str, pulls: PullQueue, hub: StandIn
    ) -> None:
        folder = hub.root / "maker" / "other"
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content)
        failed = await pull(pulls, "maker/other")
        shutil.rmtree(folder)
        assert failed.state == "failed" and failed.error is not None
        assert failed.error.code == "untrusted_model" and message in failed.error.message
        assert "MLX" in (failed.error.hint or "")
        assert not bytes_asked_for(hub)

    async def test_code_is_refused_before_the_weights(
        self, pulls: PullQueue, hub: StandIn, environ: dict[str, str]
    ) -> None:
        folder = hub.root / "maker" / "code"
        shutil.copytree(hub.root / REPO, folder)
        (folder / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "evil.Model"}}))
        failed = await pull(pulls, "maker/code")
        assert failed.error is not None and "auto_map" in failed.error.message
        assert [path.rpartition("/")[2] for path in bytes_asked_for(hub)] == ["config.json"]
        assert visible(environ, "maker/code") == []
        done = await pull(pulls, "maker/code", include=("*",))
        shutil.rmtree(folder)
        assert done.state == "done"

    async def test_pull_is_refused_when_the_disk_is_too_small(
        self, hub: StandIn, environ: dict[str, str], tmp_path: Path
    ) -> None:
        pulls = PullQueue(lambda: LibrarySettings(reserve_bytes=10**18), environ, tmp_path / "records")
        failed = await pull(pulls)
        assert failed.error is not None and failed.error.code == "disk_error" and "free" in failed.error.message
        assert not bytes_asked_for(hub)

    async def test_offline_pull_fails(self, hub: StandIn, environ: dict[str, str], tmp_path: Path) -> None:
        pulls = PullQueue(LibrarySettings, environ | {"HF_HUB_OFFLINE": "1"}, tmp_path / "records")
        failed = await pull(pulls)
        assert failed.error is not None and "HF_HUB_OFFLINE" in failed.error.message
        assert hub.requests() == []

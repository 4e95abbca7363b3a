"""Attacks on the library's files with the real daemon: links out of the cache, invalid names and texts, damaged state.

One damaged file is one problem. Nothing is lost, and everything else works.
"""

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lmx_daemon.contract.admin.library.hub import Outdated, OutdatedRow
from lmx_daemon.library.hub.response_cache import ResponseCache
from lmx_daemon.library.pull.records import PullRecord
from lmx_daemon.residency.measured import Book
from lmx_daemon.settings.paths import Home
from lmx_daemon.storage.benchmark import ClientMachine, Report, keep_report
from lmx_daemon.storage.state import write_state
from tests.end_to_end.running import Daemon
from tests.library.repositories import make_cached, make_folder

pytestmark = pytest.mark.slow

OLD, NEW = "1" * 40, "2" * 40
LATIN = os.fsdecode(b"caf\xe9")
GUIDE = "lmx/guide"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def make_daemon(root: Path) -> Iterator[Callable[[], Daemon]]:
    """Return a function that builds a daemon on the cache `root/cache` and the folder `root/mine`."""
    running: list[Daemon] = []

    def build() -> Daemon:
        (root / "mine").mkdir(exist_ok=True)
        daemon = Daemon(
            environment={"HF_HUB_CACHE": str(root / "cache")},
            config=f'[library]\nfolders = ["{root}/mine"]\nlmstudio = false\n[engine]\nwarm_spare = false\n',
        )
        running.append(daemon)
        return daemon

    yield build
    for daemon in running:
        if daemon.process is not None:
            daemon.stop()


def contents(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below a folder, by path."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def check_all_works(daemon: Daemon, *models: str) -> None:
    """Check that every command succeeds and that the built-in model responds."""
    status, answer = chat(daemon)
    assert status == 200, answer
    status, listed = daemon.get("/v1/models")
    assert status == 200 and {model["id"] for model in listed["data"]} >= {GUIDE, *models}, listed
    for command in (
        ["ls"],
        ["ls", "--json"],
        ["status"],
        ["du"],
        ["prune", "--dry-run"],
        ["rm", "--list"],
        ["downloads"],
        *(["show", model] for model in models),
        *(["verify", model] for model in models),
    ):
        done = daemon.lmx(*command)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
    assert daemon.admin("GET", "/admin/snapshot")["models"]


def chat(daemon: Daemon) -> tuple[int, Any]:
    import httpx2

    body = {"model": GUIDE, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}
    answer = httpx2.post(f"{daemon.address}/v1/chat/completions", json=body, timeout=60)
    return answer.status_code, answer.text


class TestLinks:
    def test_prune_keeps_link_targets_and_frees_the_announced_bytes(
        self, root: Path, make_daemon: Callable[[], Daemon]
    ) -> None:
        mine = make_folder(root / "originals", side=300)
        old = make_cached(root / "cache", "maker/one", OLD, side=50)
        other = make_cached(root / "cache", "maker/other", OLD, side=90)
        for file in list(old.iterdir()):
            file.unlink()
            file.symlink_to(mine / file.name)
        (old / "extra.safetensors").symlink_to((other / "model.safetensors").resolve())
        make_cached(root / "cache", "maker/one", NEW, side=60)
        before = contents(mine), contents(other)
        daemon = make_daemon().start()
        announced = json.loads(daemon.lmx("prune", "--dry-run", "--json").stdout)
        size = sum(len(content) for content in contents(root / "cache" / "models--maker--one" / "blobs").values())
        assert daemon.lmx("prune", "--yes").returncode == 0
        left = sum(len(content) for content in contents(root / "cache" / "models--maker--one" / "blobs").values())
        assert size - left == announced.get("freed", 0)
        assert (contents(mine), contents(other)) == before and not old.exists()
        check_all_works(daemon, "maker/one", "maker/other")


class TestNames:
    def test_names_and_texts_that_cannot_be_encoded(self, root: Path, make_daemon: Callable[[], Daemon]) -> None:
        make_cached(root / "cache", "maker/sound")
        odd = make_cached(root / "cache", "maker/odd")
        (odd / f"{LATIN}.txt").write_text("x")
        (odd / f"{LATIN}.jinja").write_bytes(b"\xff")
        make_cached(root / "cache", "maker/half", torch_dtype="\ud83d", model_type="\ude00")
        make_folder(root / "mine" / LATIN)
        make_folder(root / "mine" / "plain" / LATIN)
        (odd.parents[1] / "refs" / LATIN).write_text("1" * 40)
        (odd.parents[1] / "blobs" / LATIN).write_bytes(b"x")
        daemon = make_daemon().start()
        check_all_works(daemon, "maker/sound", "maker/odd", "maker/half")
        for model in ("maker/half", "maker/odd"):
            removed = daemon.lmx("rm", model, "--yes")
            assert removed.returncode == 0, removed.stderr
            assert daemon.lmx("rm", "--undo", model).returncode == 0
        assert "Traceback" not in (daemon.home / "logs" / "daemon.log").read_text()


class TestDamagedState:
    @pytest.fixture
    def complete_home(self, root: Path, make_daemon: Callable[[], Daemon]) -> Path:
        """Return a home in which lmx has written every kind of state."""
        commit = "abc1234567" * 4
        code = make_cached(root / "cache", "maker/code", commit)
        (code / "modeling.py").write_text("pass")
        make_cached(root / "cache", "maker/sound", OLD)
        make_cached(root / "cache", "maker/gone", OLD)
        make_folder(root / "mine" / "plain")
        daemon = make_daemon().start()
        assert chat(daemon)[0] == 200
        for command in (
            ["trust", f"maker/code@{commit}"],
            ["verify", "maker/sound"],
            ["verify", "local/plain", "--accept"],
            ["rm", "maker/gone", "--yes"],
            ["load", GUIDE],
        ):
            assert daemon.lmx(*command).returncode == 0, command
        assert [row["id"] for row in daemon.admin("GET", "/admin/library/trust")] == ["maker/code"]
        kept = root / "kept"
        home = Home(daemon.home)
        outdated = Outdated(rows=(OutdatedRow(id="maker/sound", commit=OLD, newer=NEW),), checked_at=1.0)
        write_state(home.root / "library" / "updates.json", msgspec.json.encode(outdated))
        for name in ("a", "b"):
            (home.pulls).mkdir(exist_ok=True)
            record = PullRecord(id=name, repo="maker/late", state="pause")
            (home.pulls / f"{name}.json").write_bytes(msgspec.json.encode(record))
        ResponseCache(home.root / "library" / "hub").keep("question", ["answer"])
        machine = ClientMachine(system="x", processor="x", cores=1, memory=1, python="3")
        keep_report(
            home.benchmarks,
            Report(id="r", taken_at=1.0, version="1", machine=machine, targets=(), tests=(), rounds=1),
        )
        if not home.measured.exists():
            home.measured.write_bytes(msgspec.json.encode(Book()))
        assert daemon.process is not None
        daemon.process.terminate()
        assert daemon.process.wait(30) == 0
        daemon.process = None
        shutil.copytree(daemon.home, kept)
        shutil.copytree(root / "cache", root / "kept-cache", symlinks=True)
        shutil.rmtree(daemon.home)
        return kept

    def state_files(self, home: Path, cache: Path) -> list[Path]:
        found = [
            *(home / "library").rglob("*.json"),
            *(home / "library").rglob("*.msgpack"),
            *(home / "pulls").glob("*.json"),
            *(home / "benchmarks").glob("*.json"),
            home / "measured.json",
            *(cache / ".locks" / "lmx-trash").rglob("*.json"),
            *cache.glob("models--*/.lmx/*.json"),
        ]
        names = {file.name for file in found}
        assert names >= {"used.json", "trusted.json", "updates.json", "described.msgpack", "note.json", "clock.json"}
        return [file for file in found if "content" not in file.parts]

    def test_a_daemon_starts_and_works_with_every_state_file_damaged(
        self, root: Path, make_daemon: Callable[[], Daemon], complete_home: Path
    ) -> None:
        for seed in range(8):
            shutil.rmtree(root / "cache")
            shutil.copytree(root / "kept-cache", root / "cache", symlinks=True)
            daemon = make_daemon()
            shutil.rmtree(daemon.home)
            shutil.copytree(complete_home, daemon.home)
            self.attack(root, daemon, seed)
            shutil.rmtree(daemon.home)

    def attack(self, root: Path, daemon: Daemon, seed: int) -> None:
        chance = random.Random(seed)
        files = self.state_files(daemon.home, root / "cache")
        trash = contents(next((root / "cache" / ".locks" / "lmx-trash").glob("*/content")))
        for file in files:
            file.write_bytes(damaged(file.read_bytes(), chance, seed))
        daemon.start()
        assert chat(daemon)[0] == 200
        for command in (["ls"], ["du"], ["rm", "--list"], ["downloads"], ["verify", "maker/sound"]):
            done = daemon.lmx(*command)
            reported = done.returncode == 0 or "does not match the recorded hashes" in done.stderr  # a flip in a hash
            assert reported, (seed, command, done.stderr)
        pulled = daemon.admin("POST", "/admin/pulls", {"repo": "maker/none", "paused": True})
        assert pulled["state"] == "paused", (seed, pulled)
        assert contents(next((root / "cache" / ".locks" / "lmx-trash").glob("*/content"))) == trash
        log = (daemon.home / "logs" / "daemon.log").read_text()
        assert "Traceback" not in log
        if list((daemon.home / "library").glob("trusted.json.unreadable-*")):
            assert any('"level":"error"' in line and "trusted.json" in line for line in log.splitlines())
        process = daemon.process
        assert process is not None
        process.terminate()
        assert process.wait(30) == 0 and not (daemon.home / "lmx.sock").exists()
        daemon.process = None


def damaged(content: bytes, chance: random.Random, seed: int) -> bytes:
    """Return `content` with one flipped bit inside a text, a byte that is not UTF-8, a cut, nesting, or zeros."""
    changed, place = bytearray(content), chance.randrange(max(1, len(content)))
    match seed % 5:
        case 0:
            changed[place] ^= 1 << chance.randrange(8)
        case 1:
            quote = content.find(b'"', place) % max(1, len(content) - 1)
            changed[quote + 1] |= 0x80
        case 2:
            del changed[place:]
        case 3:
            return b"[" * 100_000
        case _:
            return bytes(len(content))
    return bytes(changed)

"""The prefix cache's blocks on disk: right answers after a restart, and nothing but true blocks ever used."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.models.cache import KVCache

from lmx_daemon.engine import files
from lmx_daemon.engine.blocks import load_block
from lmx_daemon.engine.cache import Node, PrefixCache
from lmx_daemon.engine.disk import LEFT_ALONE, Disk
from lmx_daemon.engine.fetch import Fetch
from lmx_daemon.engine.files import Stored
from lmx_daemon.engine.fingerprint import fingerprint
from lmx_daemon.engine.index import recent
from lmx_daemon.engine.keys import BLOCK
from lmx_daemon.engine.parts import Layout
from lmx_daemon.engine.reuse import Reuse
from tests.engine.caching import CAN_BE_TRIMMED, PROMPT, answer, computed, expected, model_of, stored_tokens
from tests.engine.test_reuse import Rows
from tests.models import ARCHITECTURES, build_model

PLENTY = 1 << 30
PATIENCE = 10.0


class Shelf:
    """One life of a worker's prefix cache, memory and disk."""

    def __init__(
        self, root: Path, mark: str = "model", max_bytes: int = PLENTY, memory: int = PLENTY, **more: Any
    ) -> None:
        self.said: list[str] = []
        self.woken = threading.Event()
        self.disk = Disk(root, mark, max_bytes, self.said.append, self.woken.set, **({"reserve": 0} | more))
        assert self.disk.ready.wait(PATIENCE)
        self.prefixes = PrefixCache(memory, mark, self.disk)
        self.folder = root / mark

    def keep(self, tokens: list[int], cache: list[Any], namespace: str = "") -> None:
        self.prefixes.keep(namespace, tokens, cache)
        self.prefixes.settle()

    def restore(self, tokens: list[int], namespace: str = "") -> int:
        """Tokens gained from disk."""
        fetch = self.disk.fetch(self.prefixes, namespace, tokens)
        if fetch is None:
            return 0
        assert self.woken.wait(PATIENCE) and fetch.done
        self.woken.clear()
        before = self.prefixes.place(namespace, fetch.data).length
        self.disk.take(self.prefixes)
        return self.prefixes.place(namespace, fetch.data).length - before

    def close(self) -> None:
        self.prefixes.settle(everything=True)
        self.disk.close(PATIENCE)

    def files(self) -> list[Path]:
        return sorted(self.folder.glob("*.kv")) if self.folder.exists() else []


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Callable[..., Shelf]]:
    made: list[Shelf] = []

    def make(**options: Any) -> Shelf:
        for before in made:
            before.close()
        made.append(Shelf(tmp_path / "prefix", **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def numbers(count: int, variant: int = 0) -> tuple[list[int], list[Any]]:
    """Tokens, and a cache whose content says which they are."""
    tokens = [variant * 1000 + n for n in range(count)]
    keys = mx.array(tokens, mx.float32).reshape(1, 1, -1, 1)
    return tokens, [KVCache.from_state((keys, keys * 2, count))]


def content(shelf: Shelf, tokens: list[int]) -> list[int]:
    hit = shelf.prefixes.find("", tokens)
    return [] if hit is None else hit.cache[0].keys_and_values()[0].flatten().tolist()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_answers_after_a_restart_are_the_answers_without(
    architecture: str, folder: Path, shelf: Callable[..., Shelf]
) -> None:
    model = model_of(architecture, folder / architecture)
    first = shelf()
    first.keep(PROMPT[:200], computed(model, PROMPT[:200]))
    second = shelf()
    assert stored_tokens(second.prefixes, PROMPT) == 0
    assert second.restore(PROMPT) == 200
    hit = second.prefixes.find("", PROMPT)
    assert hit is not None and hit.length == 200
    assert answer(model, hit.cache, PROMPT[200:]) == expected(model, PROMPT)
    assert second.restore(PROMPT) == 0, "it is in memory now"
    second.keep(PROMPT[:128], computed(model, PROMPT[:128]))
    third = shelf()
    gained = third.restore(PROMPT[:128])
    assert gained == (127 if architecture in CAN_BE_TRIMMED else 0) == stored_tokens(third.prefixes, PROMPT[:128])
    assert second.said == []


@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16, mx.float32])
def test_every_number_type_comes_back(dtype: mx.Dtype, shelf: Callable[..., Shelf]) -> None:
    keys = mx.random.normal((1, 2, 128, 4)).astype(dtype)
    shelf().keep(PROMPT[:128], [KVCache.from_state((keys, keys + 1, 128))])
    again = shelf()
    assert again.restore([*PROMPT[:128], 1]) == 128
    hit = again.prefixes.find("", [*PROMPT[:128], 1])
    assert hit is not None
    found, values = hit.cache[0].keys_and_values()
    assert found.dtype == dtype and mx.array_equal(found, keys) and mx.array_equal(values, keys + 1)


def test_memory_and_disk_together_serve_one_prompt(shelf: Callable[..., Shelf]) -> None:
    tokens, cache = numbers(10 * BLOCK + 5)
    shelf().keep(tokens, cache)
    again = shelf()
    again.keep(tokens[: 3 * BLOCK], numbers(3 * BLOCK)[1])
    assert again.restore(tokens) == 7 * BLOCK
    assert content(again, tokens) == tokens[: 10 * BLOCK]


def test_what_memory_evicted_is_read_back(shelf: Callable[..., Shelf]) -> None:
    one, two = numbers(8 * BLOCK), numbers(8 * BLOCK, 1)
    probe = PrefixCache(PLENTY)
    probe.keep("", *one)
    small = shelf(memory=probe.size * 9 // 8)
    small.keep(*one)
    small.keep(*two)
    assert len(content(small, one[0])) < 8 * BLOCK - 1
    small.close()
    small = shelf(memory=probe.size * 3)
    assert small.restore(one[0]) > 0 and content(small, one[0]) == one[0][:-1]


@pytest.mark.parametrize("meanwhile", [True, False])
def test_what_was_read_back_gives_way_from_its_end(meanwhile: bool, shelf: Callable[..., Shelf]) -> None:
    tokens, cache = numbers(8 * BLOCK)
    first = shelf()
    first.keep(tokens, cache)
    half = first.prefixes.size // 2
    again = shelf()
    fetch = again.disk.fetch(again.prefixes, "", [*tokens, 1])
    assert fetch is not None and again.woken.wait(PATIENCE)
    if meanwhile:
        again.prefixes.resize(half)
    again.disk.take(again.prefixes)
    again.prefixes.resize(half)
    assert content(again, [*tokens, 1]) == tokens[: 4 * BLOCK]


def test_namespaces_are_apart_on_disk_too(shelf: Callable[..., Shelf]) -> None:
    tokens, cache = numbers(2 * BLOCK)
    shelf().keep(tokens, cache, "one")
    again = shelf()
    assert again.restore([*tokens, 1], "two") == again.restore([*tokens, 1]) == 0
    assert again.restore([*tokens, 1], "one") == 2 * BLOCK


class TestBadBlocks:
    """Each is dropped with one line, and what lies before it still serves."""

    def spoiled(self, shelf: Callable[..., Shelf], spoil: Callable[[Path], object], block: int = 2) -> Shelf:
        tokens, cache = numbers(4 * BLOCK)
        first = shelf()
        first.keep(tokens, cache)
        first.close()
        (file,) = [path for path in first.files() if f"-{block * BLOCK}-{BLOCK}b" in path.name]
        spoil(file)
        again = shelf()
        assert again.restore([*tokens, 1]) == block * BLOCK
        assert content(again, [*tokens, 1]) == tokens[: block * BLOCK]
        assert len(again.said) == 1 and "dropped" in again.said[0] and file.name in again.said[0]
        again.close()
        assert not file.exists() and len(again.files()) == 3
        assert again.restore([*tokens, 1]) == 0
        again.keep(tokens, cache)
        return again

    @pytest.mark.parametrize("place", [0, 7, 9, 14, 40, -1, -400])
    def test_a_changed_byte(self, place: int, shelf: Callable[..., Shelf]) -> None:
        def flip(path: Path) -> None:
            data = bytearray(path.read_bytes())
            data[place] ^= 4
            path.write_bytes(data)

        self.spoiled(shelf, flip)

    @pytest.mark.parametrize("length", [0, 5, 16, 100, -1])
    def test_a_torn_file(self, length: int, shelf: Callable[..., Shelf]) -> None:
        self.spoiled(shelf, lambda path: path.write_bytes(path.read_bytes()[:length]))

    def test_too_long_a_file(self, shelf: Callable[..., Shelf]) -> None:
        self.spoiled(shelf, lambda path: path.write_bytes(path.read_bytes() + b"x"))

    def test_another_block_under_its_name(self, shelf: Callable[..., Shelf]) -> None:
        def swap(path: Path) -> None:
            other = next(other for other in path.parent.iterdir() if other != path)
            path.write_bytes(other.read_bytes())

        self.spoiled(shelf, swap)

    def test_another_models_block(self, shelf: Callable[..., Shelf], tmp_path: Path) -> None:
        tokens, cache = numbers(4 * BLOCK)
        foreign = Shelf(tmp_path / "elsewhere", "other")
        foreign.keep(tokens, cache)
        foreign.close()

        def replace(path: Path) -> None:
            (file,) = [found for found in foreign.files() if f"-{2 * BLOCK}-{BLOCK}b" in found.name]
            path.write_bytes(file.read_bytes())

        self.spoiled(shelf, replace)

    def test_another_version(self, shelf: Callable[..., Shelf]) -> None:
        def older(path: Path) -> None:
            path.write_bytes(files.MAGIC[:-1] + b"\x00" + path.read_bytes()[len(files.MAGIC) :])

        self.spoiled(shelf, older)


def test_a_folder_of_another_model_is_not_looked_into(shelf: Callable[..., Shelf]) -> None:
    tokens, cache = numbers(4 * BLOCK)
    shelf(mark="one").keep(tokens, cache)
    assert shelf(mark="two").restore([*tokens, 1]) == 0
    assert shelf(mark="one").restore([*tokens, 1]) == 4 * BLOCK


def test_names_that_are_none_are_left_alone(shelf: Callable[..., Shelf]) -> None:
    first = shelf()
    first.close()  # it tidies up when it begins, and would take the empty folder away
    first.folder.mkdir(parents=True)
    for name in ("notes.txt", "a-b-c-d.kv", "--.kv", "00-00-0-b.kv"):
        (first.folder / name).write_text("mine")
    again = shelf(max_bytes=1)
    assert again.restore(PROMPT) == 0
    again.close()
    assert [path.name for path in again.folder.iterdir()] == ["notes.txt"]


def test_a_vanished_file_is_a_miss(shelf: Callable[..., Shelf]) -> None:
    tokens, cache = numbers(4 * BLOCK)
    shelf().keep(tokens, cache)
    again = shelf()
    for path in again.files():
        path.unlink()
    assert again.restore([*tokens, 1]) == 0 and again.said == []


def test_the_bound_holds_and_the_least_recently_used_go(shelf: Callable[..., Shelf]) -> None:
    first = shelf()
    for variant in range(4):
        first.keep(*numbers(8 * BLOCK, variant))
    first.close()
    for path in first.files():
        os.utime(path, (0, 0) if "-0-64b" not in path.name else None)
    total = sum(path.stat().st_size for path in first.files())
    again = shelf(max_bytes=total // 2)
    again.close()
    assert sum(path.stat().st_size for path in again.files()) <= total // 2
    assert sum("-0-64b" in path.name for path in again.files()) == 4, "the beginnings were used last"
    for variant in range(4, 12):
        again = shelf(max_bytes=total // 2)
        again.keep(*numbers(8 * BLOCK, variant))
        again.close()
    assert sum(path.stat().st_size for path in again.files()) <= total // 2 + total // 16


def test_a_used_block_is_young_again(shelf: Callable[..., Shelf]) -> None:
    tokens, cache = numbers(2 * BLOCK)
    shelf().keep(tokens, cache)
    again = shelf()
    for path in again.files():
        os.utime(path, (0, 0))
    assert again.restore([*tokens, 1]) == 2 * BLOCK and content(again, [*tokens, 1])
    again.close()
    assert all(path.stat().st_mtime > time.time() - 60 for path in again.files())


def test_what_does_not_fit_into_the_queue_is_not_written(
    shelf: Callable[..., Shelf], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmx_daemon.engine.disk.QUEUE_BYTES", 0)
    first = shelf()
    first.keep(*numbers(4 * BLOCK))
    first.close()
    assert first.files() == [] and first.disk.dropped == 4


def test_a_full_disk_is_told_once_and_costs_nothing_else(shelf: Callable[..., Shelf]) -> None:
    first = shelf(reserve=1 << 60)
    tokens, cache = numbers(4 * BLOCK)
    first.keep(tokens, cache)
    first.close()
    assert first.files() == [] and len(first.said) == 1 and "disk space" in first.said[0]
    assert content(first, tokens) == tokens[:-1]


def test_a_folder_deleted_by_hand_is_made_again(shelf: Callable[..., Shelf]) -> None:
    shelf().keep(*numbers(4 * BLOCK))
    first = shelf()
    shutil.rmtree(first.folder.parent)
    first.keep(*numbers(4 * BLOCK, 1))
    first.close()
    assert len(first.files()) == 4 and first.said == []


def failing_with(error: Exception) -> Callable[..., None]:
    def failing(*_: Any, **__: Any) -> None:
        raise error

    return failing


class TestFaultsOfItsThread:
    def again(self, shelf: Callable[..., Shelf], monkeypatch: pytest.MonkeyPatch, error: Exception) -> Shelf:
        tokens, cache = numbers(4 * BLOCK)
        shelf().keep(tokens, cache)
        again = shelf()
        with monkeypatch.context() as patched:
            patched.setattr("lmx_daemon.engine.disk.load_block", failing_with(error))
            assert again.restore([*tokens, 1]) == 0
        assert len(again.said) == 1 and str(error) in again.said[0]
        again.keep(*numbers(4 * BLOCK, 1))
        return again

    @pytest.mark.parametrize("error", [RuntimeError("[malloc] Unable to allocate"), MemoryError("too much")])
    def test_too_little_memory_costs_a_block(
        self, error: Exception, shelf: Callable[..., Shelf], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        again = self.again(shelf, monkeypatch, error)
        again.close()
        again = shelf()
        assert again.restore([*numbers(4 * BLOCK, 1)[0], 1]) == again.restore([*numbers(4 * BLOCK)[0], 1]) == 4 * BLOCK

    def test_too_little_memory_ends_the_reading_ahead(
        self, shelf: Callable[..., Shelf], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shelf().keep(*numbers(4 * BLOCK))
        again = shelf()
        monkeypatch.setattr("lmx_daemon.engine.disk.load_block", failing_with(MemoryError("too much")))
        read_ahead(again)
        assert len(again.said) == 1

    def test_what_was_not_foreseen_costs_the_disk_and_nobody_waits_for_it(
        self, shelf: Callable[..., Shelf], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        again = self.again(shelf, monkeypatch, KeyError("a fault"))
        assert again.restore([*numbers(4 * BLOCK)[0], 1]) == 0
        assert content(again, numbers(4 * BLOCK, 1)[0])
        again.close()
        assert len(again.files()) == 4 and LEFT_ALONE in again.said[0]

    def test_what_was_queued_then_is_let_go_and_no_end_waits_for_it(
        self, shelf: Callable[..., Shelf], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        again, begun, queued = shelf(), threading.Event(), threading.Event()

        def failing(*_: Any) -> None:
            begun.set()
            queued.wait(PATIENCE)
            raise KeyError("a fault")

        monkeypatch.setattr("lmx_daemon.engine.disk.write_block", failing)
        again.keep(*numbers(4 * BLOCK))
        again.prefixes.settle(everything=True)
        assert begun.wait(PATIENCE)
        again.disk.read_ahead(b"root", PLENTY)
        again.keep(*numbers(4 * BLOCK, 1))
        again.prefixes.settle(everything=True)
        queued.set()
        with again.disk._changed:  # who waits is woken: nothing else is to come
            assert again.disk._changed.wait_for(lambda: not again.disk._busy, PATIENCE)
            assert not (again.disk._writes or again.disk._touches or again.disk._queued or again.disk._plan)
        assert again.disk.fetch(again.prefixes, "", numbers(4 * BLOCK, 1)[0]) is None


def test_what_to_read_ahead_is_found_out_too_late_and_the_end_waits_for_none_of_it(
    shelf: Callable[..., Shelf], monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf().keep(*numbers(4 * BLOCK))
    again, begun, read = shelf(), threading.Event(), []

    def late(blocks: Any, *_: Any) -> list[Stored]:
        begun.set()
        while not again.disk._ending:
            time.sleep(0.01)
        return list(blocks.values())

    monkeypatch.setattr("lmx_daemon.engine.disk.recent", late)
    monkeypatch.setattr("lmx_daemon.engine.disk.load_block", lambda folder, stored, *_: read.append(stored))
    again.disk.read_ahead(again.prefixes.root_key(""), PLENTY)
    assert begun.wait(PATIENCE)
    again.disk.close(PATIENCE)
    assert read == []


def test_after_a_failed_step_what_cannot_be_deleted_is_not_used_either(
    shelf: Callable[..., Shelf], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens, cache = numbers(4 * BLOCK)
    shelf().keep(tokens, cache)
    again = shelf()
    assert again.restore([*tokens, 1]) == 4 * BLOCK
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", failing_with(PermissionError()))
        again.disk.distrust()
    again.prefixes.clear()
    assert again.restore([*tokens, 1]) == 0


def test_after_a_failed_step_what_was_restored_is_gone(shelf: Callable[..., Shelf]) -> None:
    tokens, cache = numbers(4 * BLOCK)
    shelf().keep(tokens, cache)
    again = shelf()
    assert again.restore([*tokens, 1]) == 4 * BLOCK
    again.disk.distrust()
    again.prefixes.clear()
    assert again.files() == [] and again.restore([*tokens, 1]) == 0


class TestManyThatWait:
    """Requests that the disk has something for, and that may not begin for long."""

    def reuse(
        self, shelf: Callable[..., Shelf], monkeypatch: pytest.MonkeyPatch, **options: Any
    ) -> tuple[Reuse, Shelf]:
        for variant in range(3):
            shelf().keep(*numbers(8 * BLOCK, variant))
        again = shelf(**options)
        self.read: list[str] = []

        def counted(folder: Path, stored: Stored, *more: Any) -> Any:
            self.read.append(stored.name)
            return load_block(folder, stored, *more)

        monkeypatch.setattr("lmx_daemon.engine.disk.load_block", counted)
        return Reuse(again.prefixes, again.disk), again

    def wait(self, shelf: Shelf) -> None:
        with shelf.disk._changed:
            assert shelf.disk._changed.wait_for(lambda: not shelf.disk._reads and not shelf.disk._busy, PATIENCE)

    def test_what_they_share_is_read_once(self, shelf: Callable[..., Shelf], monkeypatch: pytest.MonkeyPatch) -> None:
        reuse, again = self.reuse(shelf, monkeypatch)
        beginning = numbers(6 * BLOCK)[0]
        arrivals = [reuse.arrive("", [*beginning, 7, n]) for n in range(9)]
        arrivals.append(reuse.arrive("", numbers(8 * BLOCK)[0]))
        started = [False] * len(arrivals)
        while not all(started):
            self.wait(again)
            started = [done or reuse.may_start(each, Rows()) for each, done in zip(arrivals, started, strict=True)]
        assert [reuse.start(each).cached for each in arrivals] == [6 * BLOCK] * 9 + [8 * BLOCK - 1]
        assert len(self.read) == len(set(self.read)) == 8

    def test_what_was_read_for_them_takes_no_more_than_the_memory_for_prefixes(
        self, shelf: Callable[..., Shelf], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        probe = PrefixCache(PLENTY)
        probe.keep("", *numbers(8 * BLOCK))
        reuse, again = self.reuse(shelf, monkeypatch, memory=probe.size * 5 // 2)
        arrivals = [reuse.arrive("", [*numbers(8 * BLOCK, variant)[0], 5]) for variant in range(3)]
        self.wait(again)
        reuse.settle()
        assert all(each.fetch is not None and not each.fetch.loaded for each in arrivals)
        assert 2 * probe.size <= reuse.size <= probe.size * 5 // 2
        for each in arrivals:  # the first has given way by then, and is read again
            while not reuse.may_start(each, Rows()):
                self.wait(again)
            assert reuse.start(each).cached == 8 * BLOCK


class Late(Fetch):
    """It is done as soon as somebody has seen that it is not."""

    seen = False

    @property  # type: ignore[override]
    def done(self) -> bool:
        seen, self.seen = self.seen, True
        return seen

    @done.setter
    def done(self, done: bool) -> None:
        pass


def test_what_comes_while_somebody_looks_is_not_lost(shelf: Callable[..., Shelf]) -> None:
    tokens, cache = numbers(4 * BLOCK)
    shelf().keep(tokens, cache)
    again = shelf()
    fetch = again.disk.fetch(again.prefixes, "", [*tokens, 1])
    assert fetch is not None and again.woken.wait(PATIENCE)
    again.disk._pending = [Late(fetch.namespace, fetch.data, fetch.wanted, fetch.loaded)]
    again.disk.take(again.prefixes)
    again.disk.take(again.prefixes)
    assert content(again, [*tokens, 1]) == tokens and not again.disk._pending


class Failing:
    """What MLX raises of a cut that was only begun, as soon as somebody waits for it."""

    def offer(self, node: Node, layout: Layout) -> None:
        raise RuntimeError("[malloc] Unable to allocate")

    def used(self, nodes: Sequence[Node]) -> None:
        pass


def test_a_cut_that_fails_later_fails_no_answer_and_nothing_of_it_is_kept() -> None:
    prefixes = PrefixCache(PLENTY, "model", Failing())
    reuse = Reuse(prefixes)
    for _ in range(2):
        reuse.keep("", *numbers(2 * BLOCK))
        assert prefixes.size > 0
        reuse.settle()
        reuse.settle()
        assert prefixes.size == 0
    reuse.keep("", *numbers(2 * BLOCK))
    reuse.close(PATIENCE)
    assert prefixes.size == 0


def test_files_are_the_owners_alone(shelf: Callable[..., Shelf]) -> None:
    first = shelf()
    first.keep(*numbers(BLOCK))
    first.close()
    (file,) = first.files()
    assert file.stat().st_mode & 0o777 == 0o600 and first.folder.stat().st_mode & 0o777 == 0o700


WRITER = """
import sys
from pathlib import Path
from tests.engine.test_disk import Shelf, numbers
shelf = Shelf(Path(sys.argv[1]))
for variant in range(10_000):
    shelf.keep(*numbers(64 * 64, variant))
    if variant == 2:
        print("writing", flush=True)
"""


def test_a_writer_killed_in_the_middle_leaves_only_true_blocks(shelf: Callable[..., Shelf], tmp_path: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path / "prefix")], stdout=subprocess.PIPE)
    assert writer.stdout is not None and writer.stdout.readline() == b"writing\n"
    time.sleep(0.05)
    writer.send_signal(signal.SIGKILL)
    writer.wait(PATIENCE)
    writer.stdout.close()
    again = shelf()
    for process in (1, 1 << 70):
        (again.folder / f"torn.{process}.part").write_bytes(b"torn")
        os.utime(again.folder / f"torn.{process}.part", (0, 0))
    again = shelf()
    assert not list(again.folder.glob("*.part")) and again.files()
    for variant in range(3):
        tokens, _ = numbers(64 * 64, variant)
        gained = again.restore(tokens)
        assert content(again, tokens) == tokens[: min(gained, len(tokens) - 1)]
    assert again.said == []


class TestFingerprint:
    def test_it_is_the_models_own(self, tmp_path: Path) -> None:
        paths = [build_model("llama", tmp_path / str(seed), seed=seed) for seed in (0, 1)]
        marks = {fingerprint(path, dtype, text) for path in paths for dtype in ("float32", "bfloat16") for text in "ab"}
        assert len(marks) == 8
        assert fingerprint(paths[0], "float32", "a") == fingerprint(paths[0], "float32", "a")

    def test_other_weights_of_the_same_size(self, tmp_path: Path) -> None:
        path = build_model("llama", tmp_path / "model")
        before = fingerprint(path, "float32", "")
        weights = path / "model.safetensors"
        data = bytearray(weights.read_bytes())
        data[-1] ^= 1
        weights.write_bytes(data)
        assert fingerprint(path, "float32", "") != before

    def test_a_file_of_the_hubs_cache_goes_by_its_hash(self, tmp_path: Path) -> None:
        path = build_model("llama", tmp_path / "snapshots" / "commit")
        blob = tmp_path / "blobs" / ("a" * 64)
        blob.parent.mkdir()
        (path / "model.safetensors").rename(blob)
        (path / "model.safetensors").symlink_to(blob)
        before = fingerprint(path, "float32", "")
        os.utime(blob, (0, 0))
        assert fingerprint(path, "float32", "") == before
        blob.rename(blob.with_name("b" * 64))
        (path / "model.safetensors").unlink()
        (path / "model.safetensors").symlink_to(blob.with_name("b" * 64))
        assert fingerprint(path, "float32", "") != before


def test_the_longest_tail_that_a_prompt_begins_with_is_found(shelf: Callable[..., Shelf]) -> None:
    first = shelf()
    tokens, cache = numbers(300)
    for length in (70, 90, 100, 128, 140):
        part = [KVCache.from_state((cache[0].keys[:, :, :length], cache[0].values[:, :, :length], length))]
        first.keep(tokens[:length], part)
    for asked, known in ((140, 128), (141, 140), (300, 140), (127, 100), (91, 90), (80, 64)):
        second = shelf()
        prompt = [*tokens[: asked - 1], 9999]
        second.restore(prompt)
        assert content(second, prompt) == tokens[:known]


def read_ahead(shelf: Shelf, max_bytes: int = PLENTY, namespace: str = "") -> None:
    shelf.disk.read_ahead(shelf.prefixes.root_key(namespace), max_bytes)
    assert shelf.woken.wait(PATIENCE)
    shelf.woken.clear()
    shelf.disk.take(shelf.prefixes)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_is_read_ahead_needs_no_reading(architecture: str, folder: Path, shelf: Callable[..., Shelf]) -> None:
    model = model_of(architecture, folder / architecture)
    first = shelf()
    first.keep(PROMPT[:200], computed(model, PROMPT[:200]))
    second = shelf()
    read_ahead(second)
    assert second.restore(PROMPT) == 0
    hit = second.prefixes.find("", PROMPT)
    assert hit is not None and hit.length == 200
    assert answer(model, hit.cache, PROMPT[200:]) == expected(model, PROMPT)


def test_a_conversation_that_grew_is_read_ahead_whole(shelf: Callable[..., Shelf]) -> None:
    first = shelf()
    tokens, cache = numbers(300)
    for length in (20, 40, 63, 70, 90, 128, 140, 170, 210):
        part = [KVCache.from_state((cache[0].keys[:, :, :length], cache[0].values[:, :, :length], length))]
        first.keep(tokens[:length], part)
    first.close()
    tails = [path for path in first.files() if path.name.endswith("t.kv")]
    assert len(tails) > 4
    for path in tails:  # the shortest first, which those after it stand for
        age = int(path.stem.split("-")[3][:-1])
        os.utime(path, (time.time() - age, time.time() - age))
    second = shelf()
    read_ahead(second)
    assert content(second, tokens) == tokens[:210] and second.restore(tokens) == 0


def test_what_is_read_ahead_may_come_by_and_by(shelf: Callable[..., Shelf]) -> None:
    first = shelf()
    tokens, cache = numbers(300)
    first.keep(tokens, cache)
    second = shelf()
    second.disk.read_ahead(second.prefixes.root_key(""), PLENTY)
    assert second.woken.wait(PATIENCE)
    come, second.disk._come = second.disk._come, []
    for loaded in come:  # the engine may look after each of them
        second.disk._come = [loaded]
        second.disk.take(second.prefixes)
    third = shelf()
    third.disk._come = come
    third.disk.take(third.prefixes)
    for each in (second, third):
        while each.prefixes.size:  # a block never goes before those that follow it, which is asserted there
            each.prefixes.resize(each.prefixes.size - 1)


def test_the_newest_is_read_ahead_within_its_bound(shelf: Callable[..., Shelf]) -> None:
    first = shelf()
    for variant in range(4):
        first.keep(*numbers(150, variant))
    first.keep(*numbers(150, 9), namespace="another's")
    first.close()
    ages = {0: 400, 1: 100, 2: 300, 3: 200, 9: 50}
    now = time.time()
    for variant, age in ages.items():
        for stored in first.disk._index.blocks.values():
            data = (first.folder / stored.name).read_bytes()
            if mx.array(variant * 1000 + stored.start, mx.float32).item() in _floats(data, stored.size):
                os.utime(first.folder / stored.name, (now - age, now - age))
    second = shelf()
    each = sum(path.stat().st_size for path in first.files()) / 5
    read_ahead(second, int(2.5 * each))
    held = [stored_tokens(second.prefixes, [*numbers(150, variant)[0], 5]) for variant in range(4)]
    assert held[:2] == [0, 150] and held[2] < 150 and held[3] == 150
    assert second.prefixes.find("another's", numbers(150, 9)[0]) is None
    second.prefixes.resize(1)  # never a block before those that follow it, which is asserted there
    assert second.prefixes.size == 0


def test_of_a_conversation_that_is_too_long_the_beginning_is_read_ahead(shelf: Callable[..., Shelf]) -> None:
    first = shelf()
    first.keep(*numbers(10 * BLOCK))
    first.close()
    second = shelf()
    read_ahead(second, sum(path.stat().st_size for path in first.files()) // 2)
    tokens = [*numbers(10 * BLOCK)[0], 5]
    assert content(second, tokens) == tokens[: 5 * BLOCK]
    assert second.restore(tokens) == 5 * BLOCK and content(second, tokens) == tokens[:-1]


class Counted(dict[bytes, Stored]):
    asked = 0

    def get(self, key: bytes, default: Any = None) -> Any:
        self.asked += 1
        return super().get(key, default)


def test_what_is_not_read_ahead_is_looked_at_once() -> None:
    blocks, backwards = Counted(), Counted()
    for root in (b"missing", b"another namespace's", b"root"):
        parent = root
        for place in range(500):
            key = root + bytes(str(place), "ascii")
            blocks[key] = Stored(key, parent, place * BLOCK, BLOCK, "block", 1, used=-place)
            backwards[key] = replace(blocks[key], used=place)
            parent = key
    del blocks[b"missing0"], backwards[b"missing0"]
    found = recent(blocks, b"root", PLENTY)
    assert [stored.start for stored in found] == [place * BLOCK for place in range(500)]
    assert recent(backwards, b"root", PLENTY) == found
    assert blocks.asked + backwards.asked < 4 * len(blocks)


def test_nobody_waits_while_it_is_found_out_what_to_read_ahead(
    shelf: Callable[..., Shelf], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens, cache = numbers(2 * BLOCK)
    shelf().keep(tokens, cache)
    second = shelf()
    done, stat = threading.Event(), os.stat

    def slow(path: Any, *more: Any, **options: Any) -> os.stat_result:
        if str(path).endswith(files.SUFFIX):
            done.wait(PATIENCE)
        return stat(path, *more, **options)

    monkeypatch.setattr(os, "stat", slow)
    second.disk.read_ahead(second.prefixes.root_key(""), PLENTY)
    while second.disk._plan:
        time.sleep(0.01)
    fetch = second.disk.fetch(second.prefixes, "", [*tokens, 1])
    assert fetch is not None
    deadline = time.monotonic() + PATIENCE / 2
    while not fetch.done and time.monotonic() < deadline:
        time.sleep(0.01)
    come = fetch.done
    done.set()
    assert come


def _floats(data: bytes, size: int) -> set[float]:
    return set(np.frombuffer(data[-size:], np.float32).tolist())


def test_a_prompt_that_comes_while_it_is_read_ahead_is_served_first(shelf: Callable[..., Shelf]) -> None:
    first = shelf()
    for variant in range(20):
        first.keep(*numbers(640, variant))
    second = shelf()
    second.disk.read_ahead(second.prefixes.root_key(""), PLENTY)
    tokens = [*numbers(640, 7)[0], 5]
    fetch = second.disk.fetch(second.prefixes, "", tokens)
    assert fetch is not None
    while not fetch.done:
        assert second.woken.wait(PATIENCE)
        second.woken.clear()
    second.disk.take(second.prefixes)
    assert content(second, tokens) == tokens[:640]
    while second.disk._ahead or second.disk._busy:
        time.sleep(0.01)
    second.disk.take(second.prefixes)
    assert all(stored_tokens(second.prefixes, [*numbers(640, variant)[0], 5]) == 640 for variant in range(20))


def test_a_damaged_tail_costs_itself_alone(shelf: Callable[..., Shelf]) -> None:
    first = shelf()
    tokens, cache = numbers(150)
    first.keep(tokens, cache)
    first.close()
    (tail,) = [path for path in first.files() if path.name.endswith("t.kv")]
    tail.write_bytes(tail.read_bytes()[:-1] + b"?")
    second = shelf()
    assert second.restore([*tokens, 7]) == 128 and not tail.exists()
    assert [said for said in second.said if tail.name in said]


def test_few_tokens_are_no_tail_on_disk_and_a_known_one_is_not_read_again(shelf: Callable[..., Shelf]) -> None:
    first = shelf()
    first.keep(*numbers(70))
    first.keep(*numbers(84, variant=1))
    assert first.restore([*numbers(84, variant=1)[0], 3]) == 0, "memory holds as much"
    second = shelf()
    assert [path.name[-6:] for path in second.files() if path.name.endswith("t.kv")] == ["20t.kv"]
    assert second.restore([*numbers(84, variant=1)[0], 3]) == 84
    assert second.restore([*numbers(84, variant=1)[0], 3]) == 0

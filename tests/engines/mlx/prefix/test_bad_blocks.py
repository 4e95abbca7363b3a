"""Invalid block files: they are never used, and the blocks before them stay usable."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lmx_daemon.engines.mlx.prefix import block_files
from lmx_daemon.engines.mlx.prefix.block_keys import BLOCK
from tests.engines.mlx.prefix.disk_cache import PATIENCE, DiskCache, content, numbers
from tests.engines.mlx.reference_answers import PROMPT


class TestBadBlocks:
    """An invalid block is dropped with one log line; the blocks before it are still found."""

    def spoiled(
        self, disk_cache: Callable[..., DiskCache], spoil: Callable[[Path], object], block: int = 2
    ) -> DiskCache:
        tokens, cache = numbers(4 * BLOCK)
        first = disk_cache()
        first.store(tokens, cache)
        first.close()
        (file,) = [path for path in first.files() if f"-{block * BLOCK}-{BLOCK}b" in path.name]
        spoil(file)
        again = disk_cache()
        assert again.restore([*tokens, 1]) == block * BLOCK
        assert content(again, [*tokens, 1]) == tokens[: block * BLOCK]
        assert len(again.warnings) == 1 and "dropped" in again.warnings[0] and file.name in again.warnings[0]
        again.close()
        assert not file.exists() and len(again.files()) == 3
        assert again.restore([*tokens, 1]) == 0
        again.store(tokens, cache)
        return again

    @pytest.mark.parametrize("place", [0, 7, 9, 14, 40, -1, -400])
    def test_a_block_with_a_changed_byte_is_dropped(self, place: int, disk_cache: Callable[..., DiskCache]) -> None:
        def flip(path: Path) -> None:
            data = bytearray(path.read_bytes())
            data[place] ^= 4
            path.write_bytes(data)

        self.spoiled(disk_cache, flip)

    @pytest.mark.parametrize("length", [0, 5, 16, 100, -1])
    def test_a_truncated_block_is_dropped(self, length: int, disk_cache: Callable[..., DiskCache]) -> None:
        self.spoiled(disk_cache, lambda path: path.write_bytes(path.read_bytes()[:length]))

    def test_a_block_with_trailing_bytes_is_dropped(self, disk_cache: Callable[..., DiskCache]) -> None:
        self.spoiled(disk_cache, lambda path: path.write_bytes(path.read_bytes() + b"x"))

    def test_a_block_under_another_name_is_dropped(self, disk_cache: Callable[..., DiskCache]) -> None:
        def swap(path: Path) -> None:
            other = next(other for other in path.parent.iterdir() if other != path)
            path.write_bytes(other.read_bytes())

        self.spoiled(disk_cache, swap)

    def test_a_block_of_another_model_is_dropped(self, disk_cache: Callable[..., DiskCache], tmp_path: Path) -> None:
        tokens, cache = numbers(4 * BLOCK)
        foreign = DiskCache(tmp_path / "elsewhere", "other")
        foreign.store(tokens, cache)
        foreign.close()

        def replace(path: Path) -> None:
            (file,) = [found for found in foreign.files() if f"-{2 * BLOCK}-{BLOCK}b" in found.name]
            path.write_bytes(file.read_bytes())

        self.spoiled(disk_cache, replace)

    @pytest.mark.parametrize("kind", ["fifo", "socket", "link", "loop"])
    def test_a_file_that_is_not_regular_is_deleted(self, kind: str, disk_cache: Callable[..., DiskCache]) -> None:
        def replace(path: Path) -> None:
            kept = path.rename(path.with_suffix(".kept"))
            if kind == "fifo":
                os.mkfifo(path)
            elif kind == "socket":
                with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as bound:  # a full path is too long
                    bound.bind(path.name)
            else:
                path.symlink_to(kept if kind == "link" else path)

        started = time.monotonic()
        self.spoiled(disk_cache, replace)
        assert time.monotonic() - started < PATIENCE / 2

    def test_a_block_of_another_version_is_dropped(self, disk_cache: Callable[..., DiskCache]) -> None:
        def older(path: Path) -> None:
            path.write_bytes(block_files.MAGIC[:-1] + b"\x00" + path.read_bytes()[len(block_files.MAGIC) :])

        self.spoiled(disk_cache, older)


def test_the_folder_of_another_model_is_not_read(disk_cache: Callable[..., DiskCache]) -> None:
    tokens, cache = numbers(4 * BLOCK)
    disk_cache(mark="one").store(tokens, cache)
    assert disk_cache(mark="two").restore([*tokens, 1]) == 0
    assert disk_cache(mark="one").restore([*tokens, 1]) == 4 * BLOCK


def test_files_with_other_names_are_left_alone(disk_cache: Callable[..., DiskCache]) -> None:
    first = disk_cache()
    first.close()  # the thread removes empty folders when it starts
    first.folder.mkdir(parents=True)
    for name in ("notes.txt", "a-b-c-d.kv", "--.kv", "00-00-0-b.kv"):
        (first.folder / name).write_text("mine")
    again = disk_cache(max_bytes=1)
    assert again.restore(PROMPT) == 0
    again.close()
    assert [path.name for path in again.folder.iterdir()] == ["notes.txt"]


def test_a_vanished_file_is_a_miss(disk_cache: Callable[..., DiskCache]) -> None:
    tokens, cache = numbers(4 * BLOCK)
    disk_cache().store(tokens, cache)
    again = disk_cache()
    for path in again.files():
        path.unlink()
    assert again.restore([*tokens, 1]) == 0 and again.warnings == []


def test_a_damaged_tail_leaves_the_blocks_before_it_usable(disk_cache: Callable[..., DiskCache]) -> None:
    first = disk_cache()
    tokens, cache = numbers(150)
    first.store(tokens, cache)
    first.close()
    (tail,) = [path for path in first.files() if path.name.endswith("t.kv")]
    tail.write_bytes(tail.read_bytes()[:-1] + b"?")
    second = disk_cache()
    assert second.restore([*tokens, 7]) == 128 and not tail.exists()
    assert [warning for warning in second.warnings if tail.name in warning]


WRITER = """
import sys
from pathlib import Path
from tests.engines.mlx.prefix.disk_cache import DiskCache, numbers
shelf = DiskCache(Path(sys.argv[1]))
for variant in range(10_000):
    shelf.store(*numbers(64 * 64, variant))
    if variant == 2:
        print("writing", flush=True)
"""


def test_a_killed_writer_leaves_only_valid_blocks(disk_cache: Callable[..., DiskCache], tmp_path: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path / "prefix")], stdout=subprocess.PIPE)
    assert writer.stdout is not None and writer.stdout.readline() == b"writing\n"
    time.sleep(0.05)
    writer.send_signal(signal.SIGKILL)
    writer.wait(PATIENCE)
    writer.stdout.close()
    again = disk_cache()
    for process in (1, 1 << 70):
        (again.folder / f"torn.{process}.part").write_bytes(b"torn")
        os.utime(again.folder / f"torn.{process}.part", (0, 0))
    again = disk_cache()
    assert not list(again.folder.glob("*.part")) and again.files()
    for variant in range(3):
        tokens, _ = numbers(64 * 64, variant)
        gained = again.restore(tokens)
        assert content(again, tokens) == tokens[: min(gained, len(tokens) - 1)]
    assert again.warnings == []


def test_folders_and_files_are_private(tmp_path: Path) -> None:
    previous = os.umask(0o000)
    try:
        made = DiskCache(tmp_path / "home" / "cache" / "prefix")
        made.store(*numbers(2 * BLOCK))
        made.close()
    finally:
        os.umask(previous)
    folders = [made.folder, *list(made.folder.parents)[:3]]
    assert [oct(folder.stat().st_mode & 0o777) for folder in folders] == ["0o700"] * 4
    assert [oct(path.stat().st_mode & 0o777) for path in made.files()] == ["0o600"] * 2


def test_a_link_in_place_of_a_temporary_file_is_not_followed(tmp_path: Path) -> None:
    folder, kept = tmp_path / "prefix", tmp_path / "kept"
    kept.write_text("mine")
    folder.mkdir()
    stored = block_files.BlockFile(b"k" * 16, b"p" * 16, 0, BLOCK, "block", 4)
    temporary = folder / f"{stored.name}.{os.getpid()}{block_files.TEMPORARY}"
    temporary.symlink_to(kept)
    header = block_files.BlockHeader("model", stored.key, stored.parent, 0, b"", b"", (("uint8", (4,), 4),), 0)
    block_files.write_block(folder, stored, header, [b"data"])
    assert kept.read_text() == "mine" and not (folder / stored.name).is_symlink() and (folder / stored.name).is_file()

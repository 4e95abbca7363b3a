"""Tests of listing and deleting stored prefixes by model; nothing else is touched."""

import os
from pathlib import Path

import pytest

from lmx_daemon.storage.prefixes import clear_prefixes, read_label, remove_if_empty, stored_prefixes, write_label


def made(root: Path, name: str, label: str, *sizes: int) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    if label:
        write_label(folder, label)
    for number, size in enumerate(sizes):
        (folder / f"{number}.kv").write_bytes(b"x" * size)
        os.utime(folder / f"{number}.kv", (1000.0 + number, 1000.0 + number))
    return folder


def test_each_model_is_listed_with_its_blocks(tmp_path: Path) -> None:
    made(tmp_path, "aa", "org/small", 10)
    made(tmp_path, "bb", "org/large", 100, 200)
    made(tmp_path, "cc", "", 5)
    made(tmp_path, "dd", "org/empty")
    found = stored_prefixes(tmp_path)
    kept = [(one.model, one.blocks, one.size) for one in found]
    assert kept == [("org/large", 2, 300), ("org/small", 1, 10), ("cc", 1, 5)]
    assert (found[0].oldest, found[0].newest) == (1000.0, 1001.0)
    assert stored_prefixes(tmp_path / "none") == []


def test_clearing_deletes_only_blocks(tmp_path: Path) -> None:
    root, outside = tmp_path / "prefix", tmp_path / "outside"
    folder, other = made(root, "aa", "org/one", 10, 20), made(root, "bb", "org/two", 30)
    kept = made(outside, "mine", "", 40)
    (folder / "link.kv").symlink_to(kept / "0.kv")
    (folder / "notes.txt").write_text("mine")
    (root / "linked").symlink_to(kept)
    (gone,) = clear_prefixes(root, "org/one")
    assert (gone.blocks, gone.size) == (2, 30)
    assert {path.name for path in folder.iterdir()} == {"link.kv", "notes.txt", "model"}
    assert len(list(other.glob("*.kv"))) == 1
    assert [one.model for one in clear_prefixes(root)] == ["org/two"] and not other.exists()
    assert (kept / "0.kv").exists() and stored_prefixes(root) == []


@pytest.mark.parametrize("part", ["cache", "cache/prefix"])
def test_blocks_behind_a_linked_folder_are_neither_listed_nor_deleted(tmp_path: Path, part: str) -> None:
    kept = made(tmp_path / "cache" / "prefix", "aa", "org/one", 10)
    (tmp_path / part).rename(tmp_path / "behind")
    (tmp_path / part).symlink_to(tmp_path / "behind")
    assert stored_prefixes(tmp_path / "cache" / "prefix") == clear_prefixes(tmp_path / "cache" / "prefix") == []
    assert (kept / "0.kv").exists()


def test_a_label_is_private_and_written_once(tmp_path: Path) -> None:
    folder = made(tmp_path, "aa", "org/one")
    write_label(folder, "org/two")
    assert read_label(folder) == "org/one" and (folder / "model").stat().st_mode & 0o777 == 0o600
    remove_if_empty(folder)
    assert not folder.exists()
    folder.mkdir()
    os.mkfifo(folder / "model")
    assert read_label(folder) == ""

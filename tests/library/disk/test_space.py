"""Disk use and pruning."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lmx_daemon.contract.errors import ConflictError
from lmx_daemon.library.disk import cached_repository, prune
from lmx_daemon.library.disk.cached_repository import CachedRepository
from lmx_daemon.library.disk.links import Identity, LinkHolder, reached
from lmx_daemon.library.disk.prune import prunable
from tests.library.repositories import library_of, make_cached

OLD, NEW = "1" * 40, "2" * 40
DAY = 86_400.0


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


class TestDisk:
    @pytest.fixture
    def cache(self, tmp_path: Path) -> Path:
        """Make a repository with two revisions that share all files but the weights, an orphan, and partial files."""
        cache = tmp_path / "cache"
        make_cached(cache, "maker/one", OLD, side=100)
        make_cached(cache, "maker/one", NEW, side=200)
        blobs = cache / "models--maker--one" / "blobs"
        (blobs / ("f" * 64)).write_bytes(bytes(1000))
        (blobs / ("e" * 64 + ".lmx.incomplete")).write_bytes(bytes(500))
        (blobs / ("d" * 64 + ".incomplete")).write_bytes(bytes(70))
        age(blobs / ("f" * 64), 2 * DAY)
        age(blobs / ("d" * 64 + ".incomplete"), 30 * DAY)
        return cache

    def test_each_byte_counts_once(self, tmp_path: Path, cache: Path) -> None:
        use = library_of(tmp_path).space.use()
        (row,) = use.rows
        on_disk = sum(file.stat().st_size for file in (cache / "models--maker--one" / "blobs").iterdir())
        assert row.size == on_disk == use.total
        assert (row.orphans, row.partial) == (1000, 570)
        assert row.old == 100 * 100 * 4 + 80  # the old weights, and not what the revisions share
        assert row.size == row.current + row.old + row.orphans + row.partial

    def test_prune_deletes_unused_files_only(self, tmp_path: Path, cache: Path) -> None:
        library = library_of(tmp_path)
        found = library.space.prune(dry_run=True)
        assert {row.what for row in found.rows} == {"unnamed revision", "orphan", "partial"}
        before = library.space.use().total
        done = library.space.prune(dry_run=False)
        assert done.freed == found.freed == before - library.space.use().total
        folder = cache / "models--maker--one"
        assert [snapshot.name for snapshot in (folder / "snapshots").iterdir()] == [NEW]
        assert all((folder / "snapshots" / NEW / name).exists() for name in ("config.json", "model.safetensors"))
        assert (folder / "blobs" / ("e" * 64 + ".lmx.incomplete")).exists()  # young: of a pull that may go on
        assert library.space.prune(dry_run=True).rows == ()

    def test_loaded_and_pulled_models_are_not_pruned(self, tmp_path: Path, cache: Path) -> None:
        used = str(cache / "models--maker--one" / "snapshots" / OLD)
        assert "unnamed revision" not in {row.what for row in prunable(cache, [used], [], time.time())}
        assert prunable(cache, [], ["maker/one"], time.time()) == []

    def test_young_orphan_is_not_pruned(self, cache: Path) -> None:
        os.utime(cache / "models--maker--one" / "blobs" / ("f" * 64))
        assert "orphan" not in {row.what for row in prunable(cache, [], [], time.time())}

    def test_named_revision_is_not_pruned(self, cache: Path) -> None:
        (cache / "models--maker--one" / "refs" / "v1").write_text(OLD)
        assert "unnamed revision" not in {row.what for row in prunable(cache, [], [], time.time())}

    def test_details_list_the_revisions(self, tmp_path: Path, cache: Path) -> None:
        found = {row.commit: row for row in library_of(tmp_path).details("maker/one").revisions}
        assert found[NEW].current and found[NEW].refs == ("main",) and not found[OLD].current


@pytest.mark.parametrize("act", ["remove", "prune", "use"])
def test_model_that_leaves_the_cache_meanwhile_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    snapshot = make_cached(tmp_path / "cache", "maker/leaving")
    make_cached(tmp_path / "cache", "maker/other")
    library = library_of(tmp_path)

    def reached_late(holder: LinkHolder) -> set[Identity]:
        if holder.folder == snapshot and snapshot.exists():
            os.rename(tmp_path / "cache" / "models--maker--leaving", tmp_path / "elsewhere")
        return reached(holder)

    monkeypatch.setattr(cached_repository, "reached", reached_late)
    if act == "remove":
        library.check_removal("maker/other")
    elif act == "prune":
        assert library.space.prune(dry_run=True).freed == 0
    else:
        assert library.space.use().total > 0
    assert not snapshot.exists()


def test_links_of_a_model_that_goes_to_the_trash_during_a_prune_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    blob = make_cached(cache, "maker/one").parents[1] / "blobs" / ("f" * 64)
    blob.write_bytes(b"shared")
    age(blob, 2 * DAY)
    (make_cached(cache, "maker/two") / "shared.bin").symlink_to(blob)
    library, read = library_of(tmp_path), prune.repositories
    decisions: list[Path] = []

    def read_late(folder: Path) -> Iterator[CachedRepository]:
        decisions.append(folder)
        if len(decisions) == 2:  # the decision that counts: its list of the trash is made already
            library.remove("maker/two")
        return read(folder)

    (cache / "models--maker--one" / "blobs" / ("e" * 64)).write_bytes(b"unused")
    age(cache / "models--maker--one" / "blobs" / ("e" * 64), 2 * DAY)
    monkeypatch.setattr(prune, "repositories", read_late)
    library.space.prune(dry_run=False)
    assert blob.exists() and not (blob.parent / ("e" * 64)).exists()
    assert len(decisions) == 3


def test_prune_is_refused_while_models_come_and_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_cached(tmp_path / "cache", "maker/one")
    library, read = library_of(tmp_path), prune.repositories

    def moving(folder: Path) -> Iterator[CachedRepository]:
        found = list(read(folder))
        (folder / f"models--maker--new{len(list(folder.iterdir()))}").mkdir()
        return iter(found)

    monkeypatch.setattr(prune, "repositories", moving)
    with pytest.raises(ConflictError, match="removed or restored"):
        library.space.prune(dry_run=False)

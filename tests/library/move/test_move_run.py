"""The two halves of a move of the cache: copies with proofs, and the deletion of what is proved."""

import errno
import os
from pathlib import Path

import pytest

from lmx_daemon.contract.errors import ConflictError, DiskError
from lmx_daemon.library.disk.layout import RepositoryPaths
from lmx_daemon.library.disk.repository_lock import locked_now
from lmx_daemon.library.verify.changes import changed_files
from tests.library.move.moving import ONE, TWO, content, make_cache, manifest_at, move, prove
from tests.library.repositories import flip, make_cached


class TestMove:
    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        return make_cache(tmp_path / "source")

    @pytest.mark.parametrize("hard_links", [False, True])
    def test_models_are_whole_at_the_target_and_gone_at_the_source(
        self, tmp_path: Path, source: Path, hard_links: bool
    ) -> None:
        before, target, ledger = content(source), tmp_path / "target", tmp_path / "move.json"
        move(source, target, ledger, delete=False, hard_links=hard_links)
        assert content(source) == before == content(target)  # a copy run changes nothing at the source
        update = move(source, target, ledger, delete=True, hard_links=hard_links).update("moved")
        assert content(target) == before and content(source) == {}
        assert update.done == update.total > 0 and update.left == ()
        assert sorted(path.name for path in source.iterdir()) == ["datasets--maker--texts"]
        snapshot = target / "models--maker--one" / "snapshots" / TWO
        assert changed_files(manifest_at(target), snapshot) == []  # still verified

    def test_empty_source_is_removed(self, tmp_path: Path) -> None:
        make_cached(tmp_path / "source", "maker/one", ONE)
        for delete in (False, True):
            move(tmp_path / "source", tmp_path / "target", tmp_path / "move.json", delete=delete)
        assert not (tmp_path / "source").exists()

    def test_proved_files_are_not_read_again(self, tmp_path: Path, source: Path) -> None:
        ledger = tmp_path / "move.json"
        move(source, tmp_path / "target", ledger, delete=False)
        for blob in (tmp_path / "target").rglob("blobs/*"):
            blob.chmod(0)
        again = move(source, tmp_path / "target", ledger, delete=False).update()
        assert again.eta is None and again.done == again.total  # no byte was copied in this run

    def test_file_that_arrives_between_the_halves_is_moved(self, tmp_path: Path, source: Path) -> None:
        move(source, tmp_path / "target", tmp_path / "move.json", delete=False)
        make_cached(source, "maker/three", ONE, side=60)
        before = content(source)
        move(source, tmp_path / "target", tmp_path / "move.json", delete=True)
        assert content(tmp_path / "target") == before and content(source) == {}

    def test_damaged_blob_is_moved_as_it_is_and_named(self, tmp_path: Path, source: Path) -> None:
        weights = source / "models--maker--two" / "snapshots" / ONE / "model.safetensors"
        flip(weights)
        before = content(source)
        move(source, tmp_path / "target", tmp_path / "move.json", delete=False)
        update = move(source, tmp_path / "target", tmp_path / "move.json", delete=True).update("moved")
        assert content(tmp_path / "target") == before
        name = os.path.basename(os.readlink(tmp_path / "target" / weights.relative_to(source)))
        assert f"models--maker--two/blobs/{name}" in (tmp_path / "move.json").read_text()
        assert update.left == ()

    def test_interrupted_copy_is_continued_and_wrong_bytes_of_it_are_replaced(
        self, tmp_path: Path, source: Path
    ) -> None:
        before, target = content(source), tmp_path / "target"
        with pytest.raises(OSError):
            move_with_small_disk(source, target, tmp_path / "move.json")
        partial = next((target / "models--maker--one" / ".lmx" / "moving").iterdir())
        partial.write_bytes(b"x" * 10)
        move(source, target, tmp_path / "move.json", delete=False)
        assert content(target) == before

    def test_other_file_in_the_place_keeps_the_source(self, tmp_path: Path, source: Path) -> None:
        target = tmp_path / "target"
        (target / "models--maker--one" / "refs").mkdir(parents=True)
        (target / "models--maker--one" / "refs" / "main").write_text(ONE)
        for delete in (False, True):
            update = move(source, target, tmp_path / "move.json", delete=delete).update()
        assert [line.partition(": ")[0] for line in update.left] == [str(source / "models--maker--one/refs/main")]
        assert list(content(source).values()) == [TWO.encode()]
        assert (target / "models--maker--one" / "refs" / "main").read_text() == ONE

    def test_damaged_blob_at_the_target_is_replaced(self, tmp_path: Path, source: Path) -> None:
        before, target = content(source), tmp_path / "target"
        make_cached(target, "maker/two", ONE, side=50)
        flip(target / "models--maker--two" / "snapshots" / ONE / "model.safetensors")
        for delete in (False, True):
            move(source, target, tmp_path / "move.json", delete=delete)
        assert content(target) == before and content(source) == {}

    def test_file_that_a_link_of_another_folder_leads_to_stays(self, tmp_path: Path, source: Path) -> None:
        imported = tmp_path / "imported"
        imported.mkdir()
        weights = source / "models--maker--two" / "snapshots" / ONE / "model.safetensors"
        (imported / "model.safetensors").symlink_to(os.path.realpath(weights))
        move(source, tmp_path / "target", tmp_path / "move.json", delete=False, held=[imported])
        update = move(source, tmp_path / "target", tmp_path / "move.json", delete=True, held=[imported]).update()
        assert (imported / "model.safetensors").is_file()
        assert len(update.left) == 1 and "a link of another folder leads to it" in update.left[0]

    def test_repository_that_is_pulled_is_refused(self, tmp_path: Path, source: Path) -> None:
        paths = RepositoryPaths(source, "maker/two")
        with locked_now(paths), pytest.raises(ConflictError, match="maker/two is being pulled"):
            move(source, tmp_path / "target", tmp_path / "move.json", delete=False)

    def test_link_inside_a_repository_is_refused(self, tmp_path: Path, source: Path) -> None:
        blobs = source / "models--maker--two" / "blobs"
        blobs.rename(tmp_path / "elsewhere")
        blobs.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(DiskError, match="is a link"):
            move(source, tmp_path / "target", tmp_path / "move.json", delete=False)

    def test_repository_behind_a_link_stays_where_it_is(self, tmp_path: Path, source: Path) -> None:
        (source / "models--maker--two").rename(tmp_path / "elsewhere")
        (source / "models--maker--two").symlink_to("../elsewhere")
        for delete in (False, True):
            move(source, tmp_path / "target", tmp_path / "move.json", delete=delete)
        moved = tmp_path / "target" / "models--maker--two"
        assert os.readlink(moved) == str(tmp_path / "elsewhere")
        assert (moved / "snapshots" / ONE / "model.safetensors").is_file()

    def test_disk_without_links_gets_files(self, tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*arguments: object, **options: object) -> None:
            raise OSError(errno.ENOTSUP, "not supported")

        before = content(source)
        monkeypatch.setattr(os, "symlink", refuse)
        for delete in (False, True):
            move(source, tmp_path / "target", tmp_path / "move.json", delete=delete)
        found = content(tmp_path / "target")
        prefix = f"models--maker--one/snapshots/{TWO}/model.safetensors"
        assert found[prefix] == before[f"models--maker--one/blobs/{Path(str(before[prefix])).name}"]
        assert content(source) == {}
        assert changed_files(manifest_at(tmp_path / "target"), tmp_path / "target" / Path(prefix).parent) == []

    def test_times_of_the_manifest_follow_a_disk_that_rounds_them(self, tmp_path: Path, source: Path) -> None:
        move(source, tmp_path / "target", tmp_path / "move.json", delete=False)
        prove(source, "maker/one", TWO)
        target = tmp_path / "target"
        (target / "models--maker--one" / ".lmx" / f"{TWO}.json").unlink()
        for blob in (target / "models--maker--one" / "blobs").iterdir():
            whole = blob.stat().st_mtime_ns // 10**9 * 10**9
            os.utime(blob, ns=(whole, whole))
        move(source, target, tmp_path / "move.json", delete=False)
        assert changed_files(manifest_at(target), target / "models--maker--one" / "snapshots" / TWO) == []


def move_with_small_disk(source: Path, target: Path, ledger: Path) -> None:
    """Run a copy while a file of at most 2,000 bytes can be written, as on a full disk."""
    import resource
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        move(source, target, ledger, delete=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)

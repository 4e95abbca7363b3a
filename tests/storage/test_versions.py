"""State files of this version, of an older one and of a newer one, and damaged ones."""

import json
import logging
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from lmx_daemon.contract.errors import DiskError, NewerStateError
from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.library.catalog.last_used import LastUsed
from lmx_daemon.library.verify.trust import TrustStore
from lmx_daemon.storage.database import Layout, OwnedDatabase
from lmx_daemon.storage.versions import VersionedState


class Shelf(Frozen, frozen=True):
    """Content of version 3."""

    books: dict[str, int] = {}
    place: str = "wall"


def with_pages(titles: Any) -> Any:
    """Version 1 was a list of titles."""
    return {"books": dict.fromkeys(titles, 0)}


def with_place(shelf: Any) -> Any:
    """Version 2 had no place."""
    return {"books": shelf["books"], "place": "floor"}


STATE = VersionedState(Shelf, [with_pages, with_place])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "shelf.json"


def names(file: Path) -> list[str]:
    return sorted(each.name for each in file.parent.iterdir())


@pytest.mark.parametrize("shelf", [Shelf(), Shelf(books={"a": 1}, place="door")])
def test_file_of_this_version_is_read_and_not_written(file: Path, shelf: Shelf) -> None:
    STATE.write(file, shelf)
    written = file.read_bytes()
    assert json.loads(written)["version"] == 3
    assert STATE.read(file) == shelf and file.read_bytes() == written
    assert names(file) == ["shelf.json"] and file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("version", "content"), [(1, b'["a","b"]'), (2, b'{"version":2,"books":{"a":0,"b":0}}')])
def test_older_file_is_migrated_and_a_copy_is_kept(
    file: Path, version: int, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_bytes(content)
    with caplog.at_level(logging.INFO):
        found = STATE.read(file)
    assert found == Shelf(books={"a": 0, "b": 0}, place="floor")
    copy = file.with_name(f"shelf.json.v{version}")
    assert copy.read_bytes() == content and copy.stat().st_mode & 0o777 == 0o600
    assert json.loads(file.read_bytes()) == {"version": 3, "books": {"a": 0, "b": 0}, "place": "floor"}
    assert f"from version {version} to 3; {copy.name} is kept" in caplog.text
    assert STATE.read(file) == found


def test_newer_file_is_refused_with_its_name_and_both_versions_and_stays(file: Path) -> None:
    content = b'{"version":4,"books":[["a",1]]}'
    file.write_bytes(content)
    with pytest.raises(NewerStateError) as refused:
        STATE.read(file)
    assert refused.value.message == f"{file} has version 4, and this lmx supports versions up to 3"
    assert refused.value.hint == "upgrade lmx, or move shelf.json away to begin without it"
    assert file.read_bytes() == content and names(file) == ["shelf.json"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b'{"version":0}',
        b'{"version":true}',
        b'{"version":"3"}',
        b'{"version":3,"books":7}',
        b'{"version":2}',  # its migration finds no books
        b"7",  # its migration finds no list
    ],
)
def test_damaged_file_is_renamed(file: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    file.write_bytes(content)
    assert STATE.read(file, loss="books are lost") is None
    (kept,) = file.parent.iterdir()
    assert kept.name.startswith("shelf.json.unreadable-") and kept.read_bytes() == content
    assert "books are lost" in caplog.text


def test_full_disk_leaves_the_older_file_and_its_state_is_used(file: Path) -> None:
    file.write_bytes(b'["a"]')
    file.with_name("shelf.json.v1").mkdir()  # the copy cannot be written
    assert STATE.read(file) == Shelf(books={"a": 0}, place="floor")
    assert file.read_bytes() == b'["a"]'


def test_missing_file_is_no_state(file: Path) -> None:
    assert STATE.read(file) is None


def test_trust_and_times_of_use_without_a_version_are_migrated(tmp_path: Path) -> None:
    trusted, used = tmp_path / "trusted.json", tmp_path / "used.json"
    entry = {"id": "a/b", "revision": "0" * 40, "fingerprint": "f", "at": 1.0}
    trusted.write_text(json.dumps([entry]))
    assert [found.id for found in TrustStore(trusted).list()] == ["a/b"]
    assert json.loads(trusted.read_bytes()) == {"version": 2, "models": [entry]}
    assert json.loads((tmp_path / "trusted.json.v1").read_bytes()) == [entry]
    used.write_text(json.dumps({"a/b": 7.5}))
    assert LastUsed(used).at("a/b") == 7.5 and json.loads(used.read_bytes()) == {"version": 2, "models": {"a/b": 7.5}}


class TestDatabases:
    LAYOUT = Layout("notes", "CREATE TABLE IF NOT EXISTS notes (text TEXT)", "notes")
    NEXT = LAYOUT._replace(version=2, columns={"colour": "TEXT"})

    @pytest.fixture
    def database(self, tmp_path: Path) -> Path:
        """Return a file of version 1 with one row."""
        file = tmp_path / "notes.db"
        first = OwnedDatabase(file, self.LAYOUT)
        with first.opened() as opened:
            opened.execute("INSERT INTO notes VALUES ('one')")
        first.close()
        return file

    def rows(self, file: Path) -> tuple[int, list[Any]]:
        opened = sqlite3.connect(file)
        try:
            return opened.execute("PRAGMA user_version").fetchone()[0], opened.execute("SELECT * FROM notes").fetchall()
        finally:
            opened.close()

    def test_file_of_this_version_has_no_copy(self, database: Path) -> None:
        again = OwnedDatabase(database, self.LAYOUT)
        with again.opened():
            pass
        again.close()
        assert self.rows(database) == (1, [("one",)]) and not list(database.parent.glob("*.v*"))

    @pytest.mark.parametrize("version", [0, 1])
    def test_older_file_gets_new_columns_and_a_copy_is_kept(self, database: Path, version: int) -> None:
        opened = sqlite3.connect(database)
        opened.execute(f"PRAGMA user_version = {version}")
        opened.close()
        newer = OwnedDatabase(database, self.NEXT)
        with newer.opened():
            pass
        newer.close()
        assert self.rows(database) == (2, [("one", None)])
        (copy,) = database.parent.glob("*.v*")
        assert copy.name == "notes.db.v1" and self.rows(copy) == (version, [("one",)])

    def test_new_file_has_no_copy(self, tmp_path: Path) -> None:
        new = OwnedDatabase(tmp_path / "new.db", self.NEXT)
        with new.opened():
            pass
        new.close()
        assert self.rows(tmp_path / "new.db") == (2, []) and not list(tmp_path.glob("*.v*"))

    def test_newer_file_is_refused_and_stays(self, database: Path) -> None:
        newer = OwnedDatabase(database, self.NEXT)
        with newer.opened():
            pass
        newer.close()
        older = OwnedDatabase(database, self.LAYOUT)
        with (
            pytest.raises(NewerStateError, match=r"notes.db has version 2, and this lmx supports versions up to 1"),
            older.opened(),
        ):
            raise AssertionError("it was opened")
        older.close()
        assert self.rows(database)[0] == 2 and not list(database.parent.glob("*unreadable*"))

    def test_refusal_is_an_error_of_the_disk_to_callers(self) -> None:
        assert issubclass(NewerStateError, DiskError)

"""Stored answers: bounds, owners, restarts and damaged files."""

import shutil
import stat
import threading
from pathlib import Path

import pytest

from lmx_daemon.contract.errors import DiskError
from lmx_daemon.storage.answers import AnswerLimits, AnswerStore, StoredAnswer


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


def store_in(folder: Path, seconds: float = 100.0, size: int = 10**6, clock: Clock | None = None) -> AnswerStore:
    return AnswerStore(folder / "answers.db", lambda: AnswerLimits(seconds, size), clock or Clock())


def answer(identity: str, size: int = 10, owner: str = "http") -> StoredAnswer:
    noise = bytes((7 * i * i + len(identity) * i) % 251 for i in range(size))
    return StoredAnswer(id=identity, owner=owner, conversation=noise, body=b"{}")


def test_an_answer_is_read_again_also_after_a_restart(tmp_path: Path) -> None:
    first = store_in(tmp_path)
    first.put(answer("a"))
    first.close()
    found = store_in(tmp_path).get("a", "http")
    assert found is not None and (found.conversation, found.body) == (answer("a").conversation, b"{}")


def test_only_its_owner_reads_and_deletes_an_answer(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.put(answer("a"))
    assert store.get("a", "key:other") is None and not store.delete("a", "key:other")
    assert store.delete("a", "http") and store.get("a", "http") is None and not store.delete("a", "http")


def test_old_answers_are_dropped(tmp_path: Path) -> None:
    clock = Clock()
    store = store_in(tmp_path, clock=clock)
    store.put(answer("a"))
    clock.now += 101
    assert store.get("a", "http") is None
    store.put(answer("b"))
    assert store.get("b", "http") is not None


def test_the_oldest_are_dropped_above_the_bound_of_bytes(tmp_path: Path) -> None:
    store = store_in(tmp_path, size=1000)
    for name in "abcd":
        store.put(answer(name, 300))
    present = [name for name in "abcd" if store.get(name, "http")]
    assert present and present[-1] == "d" and "a" not in present


def test_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    store = store_in(tmp_path / "new")
    store.put(answer("a"))
    for file in (tmp_path / "new").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


def test_damaged_file_is_renamed_and_the_store_continues(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "answers.db").write_bytes(b"not a database" * 500)
    store = store_in(tmp_path)
    assert store.get("a", "http") is None
    store.put(answer("a"))
    assert store.get("a", "http") is not None
    assert any("unreadable" in file.name for file in tmp_path.iterdir()) and "set aside" not in caplog.text
    assert "answers.db cannot be read" in caplog.text


def test_a_link_in_place_of_the_file_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    (tmp_path / "answers.db").symlink_to(target)
    with pytest.raises(DiskError):
        store_in(tmp_path).put(answer("a"))
    assert not target.exists()


def test_threads_share_the_store(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    threads = [threading.Thread(target=store.put, args=(answer(f"a{number}"),)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(store.get(f"a{number}", "http") for number in range(20))


def test_answer_above_the_bounds_is_reported_as_not_stored(tmp_path: Path) -> None:
    assert store_in(tmp_path).put(answer("a")) is True
    assert store_in(tmp_path, size=1).put(answer("b")) is False
    assert store_in(tmp_path, seconds=0.0).put(answer("c")) is False


def test_store_continues_in_a_new_file_after_its_folder_was_removed(tmp_path: Path) -> None:
    store = store_in(tmp_path / "answers")
    store.put(answer("a"))
    shutil.rmtree(tmp_path / "answers")
    assert store.get("a", "http") is None and store.put(answer("b"))
    store.close()
    assert store_in(tmp_path / "answers").get("b", "http") is not None

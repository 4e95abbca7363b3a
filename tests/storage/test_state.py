"""Tests of state files: reading never raises and never overwrites, and a failed write leaves nothing behind."""

import errno
import fcntl
import logging
import os
import random
from pathlib import Path

import pytest

from lmx_daemon.storage import durable as files
from lmx_daemon.storage.durable import read_regular, sweep_temporary, write_file
from lmx_daemon.storage.state import KEPT, json_of, msgpack_of, read_state, write_state

KIND = dict[str, float]


def test_written_state_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "new" / "state.json"
    write_state(file, b'{"a":1.5}')
    assert read_state(file, json_of(KIND)) == {"a": 1.5}
    assert file.stat().st_mode & 0o777 == 0o600 and file.parent.stat().st_mode & 0o777 == 0o700


def test_a_missing_file_is_not_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert read_state(tmp_path / "none" / "state.json", json_of(KIND)) is None
    assert not caplog.records


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"a\xff":1}', b'{"a":"\\ud83d"}', b"[" * 100_000, b'{"a":1e999}', bytes(100)],
    ids=["empty", "cut", "another shape", "not UTF-8", "half a character", "nested", "huge", "zeros"],
)
def test_an_unreadable_file_is_renamed_and_logged(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "state.json"
    file.write_bytes(content)
    assert read_state(file, json_of(KIND), level=logging.ERROR, loss="all is forgotten") is None
    (aside,) = tmp_path.iterdir()
    assert aside.name.startswith("state.json.unreadable-") and aside.read_bytes() == content
    (record,) = caplog.records
    assert record.levelno == logging.ERROR and str(file) in record.message
    assert aside.name in record.message and "all is forgotten" in record.message


def test_damaged_content_never_raises(tmp_path: Path) -> None:
    """Damage JSON and msgpack by single bits, cuts and runs of one byte, from a fixed seed."""
    import msgspec

    chance, value = random.Random(7), {f"maker/model-{n}é": 1e9 / (n + 1) for n in range(20)}
    both = ((msgspec.json.encode(value), json_of(KIND)), (msgspec.msgpack.encode(value), msgpack_of(KIND)))
    for content, decode in both:
        for _ in range(300):
            damaged = bytearray(content)
            place = chance.randrange(len(damaged))
            match chance.randrange(3):
                case 0:
                    damaged[place] ^= 1 << chance.randrange(8)
                case 1:
                    del damaged[place:]
                case _:
                    damaged[place : place + 40] = bytes([chance.randrange(256)]) * 40
            (tmp_path / "state").write_bytes(damaged)
            found = read_state(tmp_path / "state", decode)
            assert found is None or isinstance(found, dict)
    assert len(list(tmp_path.glob("state.unreadable-*"))) <= KEPT


def test_only_the_newest_unreadable_copies_are_kept(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"state.json.unreadable-2026010{number}-000000").write_text(str(number))
    (tmp_path / "state.json").write_text("x")
    read_state(tmp_path / "state.json", json_of(KIND))
    kept = sorted(file.name for file in tmp_path.iterdir())
    assert len(kept) == KEPT and kept[-1] > "state.json.unreadable-20260106"


@pytest.mark.parametrize("planted", ["link", "fifo", "folder", "large"])
def test_large_and_irregular_files_are_not_read(tmp_path: Path, planted: str) -> None:
    file, outside = tmp_path / "state.json", tmp_path / "outside"
    outside.write_text('{"a":1}')
    match planted:
        case "link":
            file.symlink_to(outside)
        case "fifo":
            os.mkfifo(file)
        case "folder":
            file.mkdir()
        case "large":
            file.write_bytes(b" " * 101)
    assert read_state(file, json_of(KIND), limit=100) is None
    assert not os.path.lexists(file) and outside.read_text() == '{"a":1}'
    write_state(file, b'{"b":2}')
    assert read_state(file, json_of(KIND)) == {"b": 2.0} and outside.read_text() == '{"a":1}'


def test_an_error_of_the_process_does_not_rename_the_file(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    file.write_text("{}")

    def decode(content: bytes) -> object:
        raise OSError(errno.EMFILE, "Too many open files")

    assert read_state(file, decode) is None and file.exists()


class TestWriting:
    def test_a_failed_write_leaves_no_temporary_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_file(tmp_path / "state", b"old")

        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(files.os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            write_file(tmp_path / "state", b"new")
        assert [file.name for file in tmp_path.iterdir()] == ["state"]
        assert (tmp_path / "state").read_bytes() == b"old"

    def test_a_link_in_place_of_the_temporary_file_is_not_followed(self, tmp_path: Path) -> None:
        import threading

        (tmp_path / "outside").write_bytes(b"mine")
        planted = tmp_path / f".state.{os.getpid()}.{threading.get_ident()}.lmx"
        planted.symlink_to(tmp_path / "outside")
        write_file(tmp_path / "state", b"new")
        assert (tmp_path / "outside").read_bytes() == b"mine" and (tmp_path / "state").read_bytes() == b"new"

    def test_temporary_files_of_killed_processes_are_removed(self, tmp_path: Path) -> None:
        (tmp_path / ".state.json.1.2.lmx").write_bytes(b"half")
        (tmp_path / "state.json").write_bytes(b"whole")
        (tmp_path / ".making.lmx").mkdir()
        sweep_temporary(tmp_path)
        assert sorted(file.name for file in tmp_path.iterdir()) == [".making.lmx", "state.json"]

    @pytest.mark.parametrize("answer", [0, errno.ENOTSUP, errno.EIO])
    def test_full_sync_of_macos_is_used_if_available(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: int
    ) -> None:
        """Fake the answers of macOS: success, an unsupported file system, and a failing disk."""
        asked, synced = [], []

        def control(descriptor: int, command: int) -> int:
            asked.append(command)
            if answer:
                raise OSError(answer, os.strerror(answer))
            return 0

        monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
        monkeypatch.setattr(files.fcntl, "fcntl", control)
        monkeypatch.setattr(files.os, "fsync", synced.append)
        if answer == errno.EIO:
            with pytest.raises(OSError):
                write_file(tmp_path / "state", b"x")
            return
        write_file(tmp_path / "state", b"x")
        assert asked == [51, 51]  # the file, and the folder with its new name
        assert len(synced) == (2 if answer else 0)


def test_reading_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"12345")
    assert read_regular(tmp_path / "x", 5) == b"12345"
    with pytest.raises(OSError, match="more than 4"):
        read_regular(tmp_path / "x", 4)

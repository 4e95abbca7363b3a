"""The file of API keys: what it holds, changes by two programs, and damage."""

import logging
import resource
import stat
from pathlib import Path

import msgspec
import pytest

from lmx_daemon.contract.admin.keys import KeyRequest
from lmx_daemon.contract.errors import AuthenticationError, DiskError, NewerStateError, NotFoundError, RequestError
from lmx_daemon.storage.keys import SECRET, KeyStore, has_key


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def test_key_is_valid_after_a_restart_and_its_secret_is_not_stored(file: Path) -> None:
    made = KeyStore(file).create(KeyRequest(name="laptop", models=("org/*",), rate=5))
    assert SECRET.fullmatch(made.secret) and made.key.scopes == ("infer", "read")
    assert KeyStore(file).verify(made.secret) == msgspec.structs.replace(made.key)
    assert made.secret not in file.read_text() and made.secret.rpartition("_")[2] not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("change", ["", "x", "{secret}x", "lmx_00000000_" + "a" * 43, "lmx"])
def test_other_texts_are_no_keys(file: Path, change: str) -> None:
    store = KeyStore(file)
    made = store.create(KeyRequest(name="a"))
    wrong = change.format(secret=made.secret) if change else made.secret[:-1] + ("a" if made.secret[-1] != "a" else "b")
    with pytest.raises(AuthenticationError, match="not valid"):
        store.verify(wrong)


def test_key_expires(file: Path) -> None:
    clock = Clock()
    store = KeyStore(file, clock)
    made = store.create(KeyRequest(name="a", seconds=10.0))
    clock.now += 9.9
    store.verify(made.secret)
    clock.now += 0.1
    with pytest.raises(AuthenticationError, match="expired"):
        store.verify(made.secret)


def test_revoked_key_is_invalid_at_once_and_in_other_programs_at_their_next_look(file: Path) -> None:
    daemon, command = KeyStore(file), KeyStore(file)
    made, other = command.create(KeyRequest(name="a")), daemon.create(KeyRequest(name="b"))
    daemon.verify(made.secret)
    assert command.revoke(made.key.id) == made.key
    daemon.look()
    for store in (daemon, command):
        with pytest.raises(AuthenticationError):
            store.verify(made.secret)
    assert command.rows() == daemon.rows() == [other.key]
    with pytest.raises(NotFoundError, match="no API key"):
        daemon.revoke(made.key.id)


def test_last_use_is_kept_to_the_hour(file: Path) -> None:
    clock = Clock()
    store = KeyStore(file, clock)
    made = store.create(KeyRequest(name="a"))
    store.verify(made.secret)
    store.look()
    written = file.stat().st_mtime_ns, file.stat().st_ino
    clock.now += 3599
    store.verify(made.secret)
    store.look()
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == written
    assert [row.used_at for row in KeyStore(file).rows()] == [1_000_000.0]
    clock.now += 1
    store.verify(made.secret)
    assert store.rows()[0].used_at == clock.now
    store.look()
    assert KeyStore(file).rows()[0].used_at == clock.now


@pytest.mark.parametrize("damage", ["cut", "garbage", "types"])
def test_damaged_file_is_set_aside_and_no_key_is_valid(
    file: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    made = KeyStore(file).create(KeyRequest(name="a"))
    content = file.read_bytes()
    damaged = {"cut": content[:-2], "garbage": b"\xff\x00", "types": b'{"keys":{"a":1}}'}[damage]
    file.write_bytes(damaged)
    assert not has_key(file)
    with caplog.at_level(logging.WARNING):
        store = KeyStore(file)
    with pytest.raises(AuthenticationError):
        store.verify(made.secret)
    (kept,) = file.parent.glob("keys.json.unreadable-*")
    assert kept.read_bytes() == damaged and kept.name in caplog.text and "lmx key create" in caplog.text
    again = store.create(KeyRequest(name="b"))
    assert KeyStore(file).rows() == [again.key] and has_key(file)


def test_file_of_a_newer_version_is_refused_and_unchanged(file: Path) -> None:
    KeyStore(file).create(KeyRequest(name="a"))
    newer = file.read_bytes().replace(b'"version":1', b'"version":2', 1)
    file.write_bytes(newer)
    for read in (has_key, KeyStore):
        with pytest.raises(NewerStateError, match=r"keys.json has version 2"):
            read(file)
    assert file.read_bytes() == newer and not list(file.parent.glob("*unreadable*"))


def test_every_cut_of_the_file_leaves_no_valid_key(file: Path) -> None:
    made = KeyStore(file).create(KeyRequest(name="a"))
    content = file.read_bytes()
    for length in range(0, len(content), 7):
        file.write_bytes(content[:length])
        with pytest.raises(AuthenticationError):
            KeyStore(file).verify(made.secret)


def test_file_that_cannot_be_read_for_a_moment_is_not_overwritten(file: Path) -> None:
    first = KeyStore(file).create(KeyRequest(name="a"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        store = KeyStore(file)
        assert store.rows() == []
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    second = store.create(KeyRequest(name="b"))
    assert KeyStore(file).rows() == [first.key, second.key]


def test_failed_write_changes_nothing(file: Path) -> None:
    store = KeyStore(file)
    made = store.create(KeyRequest(name="a"))
    file.with_name("keys.lock").unlink()
    file.with_name("keys.lock").mkdir()
    for change in (lambda: store.revoke(made.key.id), lambda: store.create(KeyRequest(name="b"))):
        with pytest.raises(DiskError):
            change()
    assert store.verify(made.secret) == made.key
    assert [row.id for row in KeyStore(file).rows()] == [made.key.id]


def test_bad_requests_are_refused(file: Path) -> None:
    store = KeyStore(file)
    for asked in (KeyRequest(name="a\n"), KeyRequest(name=" "), KeyRequest(name="a", min_priority=3, max_priority=2)):
        with pytest.raises(RequestError):
            store.create(asked)
    assert not file.exists()

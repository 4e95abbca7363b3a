"""Writes that a full or read-only disk refuses: what was acknowledged stays, and the error has a hint."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from lmx_daemon.chats.store.store import ChatStore
from lmx_daemon.contract.admin.chats import ChatCreate, ChatSettings
from lmx_daemon.contract.admin.keys import KeyRequest
from lmx_daemon.contract.admin.library.files import TrustRequest
from lmx_daemon.contract.errors import ConfigError, DiskError, LmxError
from lmx_daemon.library.library import Library
from lmx_daemon.router.preset_files import PresetFiles
from lmx_daemon.router.saved_aliases import SavedAliases
from lmx_daemon.settings.paths import Home
from lmx_daemon.settings.writing.config_writer import change_config
from lmx_daemon.storage import durable
from lmx_daemon.storage.keys import KeyStore
from tests.library.repositories import library_of, make_cached

COMMIT = "abc1234567" * 4
Act = Callable[[Home], object]
WRITES: dict[str, tuple[Act, Act, Act]] = {
    "create a key": (
        lambda home: KeyStore(home.keys).create(KeyRequest(name="first")),
        lambda home: KeyStore(home.keys).create(KeyRequest(name="second")),
        lambda home: KeyStore(home.keys).rows(),
    ),
    "revoke a key": (
        lambda home: KeyStore(home.keys).create(KeyRequest(name="first")),
        lambda home: KeyStore(home.keys).revoke(KeyStore(home.keys).rows()[0].id),
        lambda home: KeyStore(home.keys).rows(),
    ),
    "change a preset": (
        lambda home: PresetFiles(home.root / "presets").change("brief", {"max_tokens": 5}),
        lambda home: PresetFiles(home.root / "presets").change("brief", {"max_tokens": 6}),
        lambda home: PresetFiles(home.root / "presets").refresh(),
    ),
    "make a preset": (
        lambda home: PresetFiles(home.root / "presets").change("brief", {"max_tokens": 5}),
        lambda home: PresetFiles(home.root / "presets").change("long", {"max_tokens": 6}),
        lambda home: PresetFiles(home.root / "presets").refresh(),
    ),
    "set an alias": (
        lambda home: SavedAliases(home.root / "aliases.json").replace({"code": ("org/big",)}),
        lambda home: SavedAliases(home.root / "aliases.json").replace({"code": ("org/small",)}),
        lambda home: SavedAliases(home.root / "aliases.json").aliases,
    ),
    "set a setting": (
        lambda home: change_config(home, lambda text: "[server]\nport = 1\n"),
        lambda home: change_config(home, lambda text: "[server]\nport = 2\n"),
        lambda home: home.config.read_text(),
    ),
}
"""Name -> a write that is acknowledged, the one that fails, and what a program reads afterwards."""
FAULTS = {
    errno.ENOSPC: "free some space on the disk of ",
    errno.EDQUOT: "free some space on the disk of ",
    errno.EACCES: "make ",
    errno.EROFS: "make ",
    errno.EIO: "check the disk of ",
}


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """Return a function that makes durable writes fail with an error number, or succeed again."""
    return refusal(monkeypatch, of_files=True)


@pytest.fixture
def refuse_names(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """Return a function like `refuse`. Contents are written, and only the folder that has the new name fails."""
    return refusal(monkeypatch, of_files=False)


def refusal(monkeypatch: pytest.MonkeyPatch, *, of_files: bool) -> Callable[[int | None], None]:
    sync = durable.sync_file

    def apply(number: int | None) -> None:
        def fail(descriptor: int) -> None:
            if of_files or stat.S_ISDIR(os.fstat(descriptor).st_mode):
                raise OSError(number, os.strerror(number or 0))
            sync(descriptor)

        monkeypatch.setattr(durable, "sync_file", sync if number is None else fail)

    return apply


@pytest.mark.parametrize("number", FAULTS, ids=errno.errorcode.get)
@pytest.mark.parametrize("name", WRITES)
def test_refused_write_loses_nothing_and_has_a_hint(
    name: str, number: int, refuse: Callable[[int | None], None], tmp_path: Path
) -> None:
    check_refused_write(name, number, refuse, tmp_path)


@pytest.mark.parametrize("name", WRITES)
def test_write_whose_folder_cannot_be_synced_leaves_the_old_content(
    name: str, refuse_names: Callable[[int | None], None], tmp_path: Path
) -> None:
    check_refused_write(name, errno.EIO, refuse_names, tmp_path)


def check_refused_write(name: str, number: int, refuse: Callable[[int | None], None], tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.make()
    before, act, state = WRITES[name]
    before(home)
    kept, files = state(home), files_in(home.root)
    refuse(number)
    with pytest.raises((DiskError, ConfigError)) as refused:
        act(home)
    assert os.strerror(number) in refused.value.message
    assert refused.value.hint is not None and refused.value.hint.startswith(FAULTS[number])
    assert state(home) == kept
    changed = {file for file, content in files_in(home.root).items() if files.get(file) != content}
    assert changed <= {"keys.lock", "config.lock"}, changed
    refuse(None)
    act(home)
    assert state(home) != kept


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_model_stays_where_the_note_of_the_trash_is_refused(
    number: int, refuse: Callable[[int | None], None], tmp_path: Path
) -> None:
    snapshot = make_cached(tmp_path / "cache", "maker/one")
    library, files = library_of(tmp_path), files_in(tmp_path / "cache")
    refuse(number)
    with pytest.raises(LmxError) as refused:
        library.remove("maker/one")
    assert refused.value.hint
    assert snapshot.is_dir() and library.trash.rows() == []
    assert {name: files_in(tmp_path / "cache").get(name) for name in files} == files
    refuse(None)
    assert library.remove("maker/one").id == "maker/one"


def test_key_of_a_running_daemon_is_valid_after_a_refused_change(
    refuse: Callable[[int | None], None], tmp_path: Path
) -> None:
    store = KeyStore(tmp_path / "keys.json")
    first = store.create(KeyRequest(name="first"))
    refuse(errno.ENOSPC)
    for change in (lambda: store.create(KeyRequest(name="second")), lambda: store.revoke(first.key.id)):
        with pytest.raises(DiskError):
            change()
    store.look()
    assert store.verify(first.secret).id == first.key.id
    assert [key.id for key in store.rows()] == [first.key.id]


def trusting(folder: Path) -> Library:
    """Return a library with one model, whose code is trusted."""
    snapshot = make_cached(folder / "cache", "maker/odd", COMMIT)
    (snapshot / "modeling.py").write_text("pass")
    library = library_of(folder)
    library.trust(TrustRequest(id="maker/odd", revision=COMMIT))
    return library


def test_memory_equals_the_disk_after_a_folder_could_not_be_synced(
    refuse_names: Callable[[int | None], None], tmp_path: Path
) -> None:
    file = tmp_path / "aliases.json"
    aliases, keys, library = SavedAliases(file), KeyStore(tmp_path / "keys.json"), trusting(tmp_path)
    aliases.replace({"code": ("org/big",)})
    key = keys.create(KeyRequest(name="first")).key
    trusted = library.trusted()
    refuse_names(errno.EIO)
    changes: tuple[Callable[[], object], ...] = (
        lambda: aliases.replace({"code": ("org/small",)}),
        lambda: keys.revoke(key.id),
        lambda: library.trust(TrustRequest(id="maker/odd", withdraw=True)),
    )
    for change in changes:
        with pytest.raises(DiskError):
            change()
    assert aliases.aliases == SavedAliases(file).aliases == {"code": ("org/big",)}
    keys.look()
    assert keys.rows() == KeyStore(tmp_path / "keys.json").rows() == [key]
    assert library.trusted() == library_of(tmp_path).trusted() == trusted
    assert not list(tmp_path.rglob(".*.lmx"))


def test_code_is_not_trusted_when_the_permission_was_not_written(
    refuse: Callable[[int | None], None], tmp_path: Path
) -> None:
    library = trusting(tmp_path)
    library.trust(TrustRequest(id="maker/odd", withdraw=True))
    refuse(errno.ENOSPC)
    with pytest.raises(DiskError, match="the permission was not written"):
        library.trust(TrustRequest(id="maker/odd", revision=COMMIT))
    assert library.trusted() == []


def test_new_content_stays_where_a_file_system_has_no_hard_links(
    refuse_names: Callable[[int | None], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "state.json"
    durable.write_file(file, b"old")

    def unsupported(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", unsupported)
    refuse_names(errno.EIO)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        durable.write_file(file, b"new")
    assert file.read_bytes() == b"new" and os.listdir(tmp_path) == ["state.json"]


def test_chat_that_a_full_disk_refuses_has_a_hint_and_earlier_ones_stay(tmp_path: Path) -> None:
    store = ChatStore(tmp_path / "chats.db")
    kept = store.create(ChatCreate(title="whales"))
    with store._database.opened() as database:
        database.execute(f"PRAGMA max_page_count = {database.execute('PRAGMA page_count').fetchone()[0]}")
    with pytest.raises(DiskError) as refused:
        store.create(ChatCreate(title="krill", settings=ChatSettings(system="x" * 100_000)))
    assert refused.value.hint == f"free some space on the disk of {tmp_path}, and try again; nothing was changed"
    assert [row.id for row in store.listed()] == [kept.id]
    store.close()

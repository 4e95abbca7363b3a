"""The file of chats: trees of messages, search, trash, restarts, kills, damaged and newer files."""

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from lmx_daemon.chats.exchange.importing import import_chats
from lmx_daemon.chats.store import purge
from lmx_daemon.chats.store import store as store_module
from lmx_daemon.chats.store.store import ChatStore, new_id
from lmx_daemon.contract.admin.chat_import import ImportedChat, ImportedMessage
from lmx_daemon.contract.admin.chats import Attachment, ChatChange, ChatCreate, ChatRole, ChatSettings, StoredMessage
from lmx_daemon.contract.errors import ChatNotFoundError, DiskError, NewerStateError, RequestError, TooLargeError
from tests.chats.store.conftest import Clock


def message(role: ChatRole, text: str, parent: str | None = None, **fields: object) -> StoredMessage:
    return StoredMessage(id=new_id("m"), parent=parent, role=role, text=text, **fields)  # type: ignore[arg-type]


def exchange(store: ChatStore, question: str, answer: str, chat: str = "") -> tuple[str, StoredMessage, StoredMessage]:
    chat = chat or store.create(ChatCreate()).id
    leaf = store.get(chat).leaf
    asked = message("user", question, leaf)
    given = message("assistant", answer, asked.id)
    store.add(chat, [asked, given])
    return chat, asked, given


def test_a_chat_is_read_as_it_was_written(store: ChatStore) -> None:
    settings = ChatSettings(system="Be brief.", max_tokens=7, thinking=False)
    row = store.create(ChatCreate(title="Über Fische", model="a/b", settings=settings, tags=("sea",), folder="work"))
    file = Attachment(name="a.txt", data=b"content")
    asked = message("user", "half a pair: \ud83d, and NUL \x00", attachments=(file,))
    store.add(row.id, [asked])
    chat = store.get(row.id)
    assert (chat.row.title, chat.row.tags, chat.row.folder, chat.settings) == (
        "Über Fische",
        ("sea",),
        "work",
        settings,
    )
    assert chat.leaf == asked.id and chat.messages[0].text == "half a pair: \ufffd, and NUL \x00"
    assert chat.messages[0].attachments == (Attachment(name="a.txt", size=7),), "contents are not listed"
    assert store.files(chat.messages[0])[0].data == b"content"


def test_list_has_pinned_chats_first_and_then_the_newest(store: ChatStore, clock: Clock) -> None:
    chats = []
    for number in range(3):
        clock.now += 1
        chats.append(exchange(store, f"question {number}", "answer")[0])
    store.change(chats[0], ChatChange(pinned=True))
    store.create(ChatCreate())
    assert [row.id for row in store.listed()] == [chats[0], chats[2], chats[1]], "an empty chat is not listed"
    assert store.listed()[0].name == "question 0" and store.listed()[0].messages == 2
    store.change(chats[1], ChatChange(tags=("home",), title="Named"))
    assert [row.name for row in store.listed(tag="home")] == ["Named"]


def test_branches_share_a_parent_and_a_selected_branch_ends_at_its_newest_message(store: ChatStore) -> None:
    chat, asked, first = exchange(store, "one", "first")
    second = message("assistant", "second", asked.id)
    store.add(chat, [second])
    assert store.get(chat).leaf == second.id
    below = message("user", "go on", first.id)
    store.add(chat, [below])
    store.change(chat, ChatChange(leaf=second.id))
    store.change(chat, ChatChange(leaf=first.id))
    assert store.get(chat).leaf == below.id
    with pytest.raises(RequestError, match="no message"):
        store.change(chat, ChatChange(leaf="m0"))
    with pytest.raises(RequestError, match="no message"):
        store.add(chat, [message("user", "x", "m0")])


def test_search_finds_words_of_titles_and_texts_in_any_order_and_case(store: ChatStore) -> None:
    fish, *_ = exchange(store, "How do whales breathe?", "They surface; the blowhole opens.")
    code, *_ = exchange(store, "regex for dates", "Use `\\d{4}` and café.")
    store.change(code, ChatChange(title="Dates in ISO form"))
    assert [row.id for row in store.search("breathe WHALE")] == [fish]
    assert "whales" in store.search("whales")[0].snippet
    assert [row.id for row in store.search("iso")] == [code], "a title"
    assert [row.id for row in store.search("cafe")] == [code], "accents make no difference"
    assert [row.id for row in store.search("blowh")] == [fish], "the beginning of a word"
    assert store.search('"unbalanced AND (') == [] and store.search("  ") == [] and store.search("whales dates") == []
    store.delete(fish)
    assert store.search("whales") == [], "the trash is not searched"


def test_search_finds_words_of_scripts_without_spaces(store: ChatStore) -> None:
    chat, *_ = exchange(store, "東京都の天気を教えて", "晴れです")
    assert [row.id for row in store.search("天気")] == [chat]


def test_an_answer_is_found_once_it_has_ended(store: ChatStore) -> None:
    chat = store.create(ChatCreate()).id
    asked = message("user", "go")
    answer = message("assistant", "", asked.id, state="running")
    store.add(chat, [asked, answer])
    store.update(msgspec.structs.replace(answer, text="zebra in part"))
    assert store.search("zebra") == []
    store.update(msgspec.structs.replace(answer, text="zebra complete", state="done"))
    assert [row.id for row in store.search("zebra complete")] == [chat]


def test_an_unfinished_answer_is_interrupted_after_a_restart(store: ChatStore, tmp_path: Path) -> None:
    chat = store.create(ChatCreate()).id
    asked = message("user", "go")
    answer = message("assistant", "half of", asked.id, state="running")
    store.add(chat, [asked, answer])
    store.close()
    again = ChatStore(tmp_path / "chats.db")
    assert again.get(chat).messages[1].state == "interrupted"
    assert [row.id for row in again.search("half")] == [chat]


def test_deleted_chat_can_be_restored_until_it_expires(store: ChatStore, clock: Clock) -> None:
    chat, *_ = exchange(store, "whales", "yes")
    store.delete(chat)
    assert store.listed() == [] and [row.id for row in store.listed(deleted=True)] == [chat]
    store.restore(chat)
    assert [row.id for row in store.listed()] == [chat] and len(store.search("whales")) == 1
    store.delete(chat)
    clock.now += 31 * 86_400
    store.create(ChatCreate())
    with pytest.raises(ChatNotFoundError):
        store.get(chat)


def test_trash_is_bounded_and_can_be_emptied(store: ChatStore, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.setattr(purge, "MAX_TRASH", 2)
    for number in range(4):
        clock.now += 1
        store.delete(exchange(store, f"question {number}", "a")[0])
    assert [row.name for row in store.listed(deleted=True)] == ["question 3", "question 2"]
    assert store.empty_trash() == 2 and store.listed(deleted=True) == []


def test_chat_has_a_limited_number_of_messages(store: ChatStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "MAX_MESSAGES", 3)
    chat, *_ = exchange(store, "one", "two")
    with pytest.raises(TooLargeError, match="at most 3"):
        exchange(store, "three", "four", chat)


def test_beginning_of_an_id_names_a_chat_if_it_is_unique(store: ChatStore) -> None:
    one, two = store.create(ChatCreate(), identity="cab1").id, store.create(ChatCreate(), identity="cab2").id
    assert (store.find("cab1").id, store.find("cab2").id) == (one, two)
    for beginning in ("cab", "x", ""):
        with pytest.raises(ChatNotFoundError):
            store.find(beginning)


def test_import_repairs_a_damaged_tree_and_skips_chats_that_are_present(store: ChatStore) -> None:
    messages = (
        ImportedMessage(id="1", role="user", text="whales"),
        ImportedMessage(id="2", role="assistant", parent="1", text="yes"),
        ImportedMessage(id="2", role="assistant", parent="1", text="repeated"),
        ImportedMessage(id="3", role="user", parent="lost", text="go on"),
    )
    chat = ImportedChat(messages=messages, title="Old", origin="lmstudio:1.json", changed_at=5.0, leaf="2")
    found = import_chats(store, [chat, chat], 9.0)
    assert found.present == 1 and len(found.rows) == 1 and found.rows[0].changed_at == 5.0
    read = store.get(found.rows[0].id)
    assert [message.text for message in read.messages] == ["whales", "yes", "go on"]
    assert read.messages[2].parent == read.messages[1].id == read.leaf
    assert import_chats(store, [chat], 9.0).present == 1


def test_file_is_readable_by_its_owner_only(store: ChatStore, tmp_path: Path) -> None:
    store.create(ChatCreate())
    assert stat.S_IMODE((tmp_path / "chats.db").stat().st_mode) == 0o600


@pytest.mark.parametrize("damage", [b"not a database" * 500, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_damaged_file_is_set_aside_by_name(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "chats.db").write_bytes(damage)
    store = ChatStore(tmp_path / "chats.db")
    exchange(store, "one", "two")
    kept = [file for file in tmp_path.iterdir() if "unreadable" in file.name]
    assert len(kept) == 1 and kept[0].read_bytes() == damage and len(store.listed()) == 1


def test_file_of_a_newer_version_is_refused_and_unchanged(store: ChatStore, tmp_path: Path) -> None:
    exchange(store, "one", "two")
    store.close()
    with sqlite3.connect(tmp_path / "chats.db") as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    newer = ChatStore(tmp_path / "chats.db")
    with pytest.raises(NewerStateError, match=r"chats.db has version 99, and this lmx supports versions up to 1"):
        newer.listed()
    assert not list(tmp_path.glob("*unreadable*"))
    database = sqlite3.connect(tmp_path / "chats.db")
    assert database.execute("SELECT COUNT(*) FROM messages").fetchone() == (2,)
    database.close()


@pytest.mark.parametrize("kind", ["fifo", "link", "folder"])
def test_a_path_that_is_no_regular_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "chats.db"
    match kind:
        case "fifo":
            os.mkfifo(file)
        case "link":
            (tmp_path / "target").write_text("kept")
            file.symlink_to(tmp_path / "target")
        case "folder":
            file.mkdir()
    with pytest.raises(DiskError):
        ChatStore(file).listed()
    assert kind != "link" or (tmp_path / "target").read_text() == "kept"


def test_fault_of_a_statement_does_not_displace_the_file(store: ChatStore, tmp_path: Path) -> None:
    store.create(ChatCreate(), identity="c1")
    with pytest.raises(DiskError):
        store.create(ChatCreate(), identity="c1")
    assert not [file for file in tmp_path.iterdir() if "unreadable" in file.name]


WRITER = """
import sys
from pathlib import Path
from lmx_daemon.chats.store.store import ChatStore
from lmx_daemon.contract.admin.chats import ChatCreate, StoredMessage

store = ChatStore(Path(sys.argv[1]))
chat = store.create(ChatCreate()).id
for number in range(100_000):
    store.add(chat, [StoredMessage(id=f"m{number}", parent=None, role="user", text=f"word{number}")])
    print(number, flush=True)
"""


@pytest.mark.parametrize("delay", [0.05, 0.2])
def test_kill_loses_no_message_that_was_acknowledged(tmp_path: Path, delay: float) -> None:
    file = tmp_path / "chats.db"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(file)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    writer.stdout.readline()
    time.sleep(delay)
    writer.send_signal(signal.SIGKILL)
    told = [int(line) for line in writer.stdout.read().split("\n")[:-1]]
    writer.wait()
    writer.stdout.close()
    store = ChatStore(file)
    messages = store.get(store.listed()[0].id).messages
    assert len(messages) >= (max(told) + 1 if told else 1)
    assert len(store.search(f"word{len(messages) - 1}")) == 1
    assert not [found for found in tmp_path.iterdir() if "unreadable" in found.name]


def test_prompts_of_all_chats_are_listed_newest_first(store: ChatStore) -> None:
    first, *_ = exchange(store, "one", "answer")
    trashed, *_ = exchange(store, "in the trash", "answer")
    exchange(store, "two", "answer")
    exchange(store, "three", "answer", first)
    store.delete(trashed)
    exchange(store, "long " * 10_000, "answer")
    imported = (ImportedMessage(id="1", role="user", text="imported"),)
    import_chats(store, (ImportedChat(messages=imported, origin="lmstudio:1"),), 0.0)
    assert store.prompts(9) == ["three", "two", "one"]
    assert store.prompts(1) == ["three"]

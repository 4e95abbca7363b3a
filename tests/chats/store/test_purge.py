"""Deletions for good: afterwards no word of a deleted text is in the bytes of the file of chats or of its log."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lmx_daemon.chats.store.store import ChatStore
from lmx_daemon.contract.admin.chats import Attachment, ChatChange, ChatCreate
from tests.chats.store.test_store import Clock, exchange, message

WORD, KEPT = "zirconiumvault", "harbourlantern"
DAYS = 31 * 86_400


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> ChatStore:
    return ChatStore(tmp_path / "chats.db", clock=clock)


def bytes_on_disk(folder: Path) -> bytes:
    """Return the contents of all files, in lower case."""
    return b"\n".join(file.read_bytes() for file in sorted(folder.iterdir())).lower()


def fill(store: ChatStore) -> tuple[str, str]:
    """Add chats that stay between chats with WORD; return the id of a chat with WORD, and of a message there."""
    chat = store.create(ChatCreate(title=f"About {WORD}"))
    _, asked, _ = exchange(store, f"What is {WORD}?", f"{WORD.title()} is nothing. " * 40, chat.id)
    for number in range(30):
        exchange(store, f"Question {number} on {KEPT}", "An answer of some length. " * 30)
    file = Attachment(name="a.txt", data=WORD.encode())
    store.add(chat.id, [message("user", f"and the {WORD}s", store.get(chat.id).leaf, attachments=(file,))])
    store.change(chat.id, ChatChange(draft=f"more of {WORD}"))
    return chat.id, asked.id


def empty(store: ChatStore, clock: Clock) -> None:
    store.empty_trash()


def expire(store: ChatStore, clock: Clock) -> None:
    clock.now += DAYS
    store.create(ChatCreate(title="the next chat"))


@pytest.mark.parametrize("purge", [empty, expire])
def test_no_word_of_a_purged_chat_is_in_the_bytes_of_the_file(
    store: ChatStore, clock: Clock, tmp_path: Path, purge: Callable[[ChatStore, Clock], None]
) -> None:
    chat, _ = fill(store)
    store.delete(chat)
    assert WORD.encode() in bytes_on_disk(tmp_path), "it can be restored"
    purge(store, clock)
    found = bytes_on_disk(tmp_path)
    assert WORD.encode() not in found and KEPT.encode() in found
    assert len(store.search(KEPT)) == 30 and store.search(WORD) == []


def test_no_word_of_purged_messages_is_in_the_bytes_of_the_file(store: ChatStore, clock: Clock, tmp_path: Path) -> None:
    chat, asked = fill(store)
    store.change(chat, ChatChange(title="", draft=""))
    store.remove_messages(chat, asked)
    assert store.search(WORD) == [] and WORD.encode() in bytes_on_disk(tmp_path), "they can be restored"
    expire(store, clock)
    assert WORD.encode() not in bytes_on_disk(tmp_path)
    assert len(store.search(KEPT)) == 30


def test_log_of_a_killed_daemon_is_emptied_by_the_next_one(tmp_path: Path) -> None:
    program = f"""
import os, signal
from pathlib import Path
from lmx_daemon.chats.store.store import ChatStore
from lmx_daemon.contract.admin.chats import ChatCreate
store = ChatStore(Path({str(tmp_path / "chats.db")!r}))
store._database.empty_log = lambda: None
chat = store.create(ChatCreate(title={WORD!r}))
store.delete(chat.id)
store.empty_trash()
os.kill(os.getpid(), signal.SIGKILL)
"""
    root = Path(__file__).parents[3]
    ended = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, timeout=60)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert WORD.encode() in bytes_on_disk(tmp_path)
    ChatStore(tmp_path / "chats.db").listed()
    assert WORD.encode() not in bytes_on_disk(tmp_path)

"""Files of chats: which ones of a folder are read, and which errors a damaged one causes."""

import json
from pathlib import Path

import pytest

from lmx_cli.chat_files import chats_in
from lmx_daemon.contract.errors import LmxError, NotFoundError

CHAT = json.dumps({"name": "Tides", "messages": []})


def test_folder_is_read_with_its_folders_and_other_files_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "sea").mkdir()
    (tmp_path / "sea" / "2.conversation.json").write_text(CHAT)
    (tmp_path / "1.conversation.json").write_text(CHAT)
    (tmp_path / "notes.json").write_text("{}")
    chats, faults = chats_in([tmp_path])
    assert [(chat.origin, chat.folder) for chat in chats] == [
        ("lmstudio:1.conversation.json", ""), ("lmstudio:2.conversation.json", "sea"),
    ]  # fmt: skip
    assert faults == []


def test_damaged_file_does_not_hide_the_others(tmp_path: Path) -> None:
    (tmp_path / "1.conversation.json").write_text("{")
    (tmp_path / "2.conversation.json").write_text(CHAT)
    chats, faults = chats_in([tmp_path])
    assert len(chats) == 1 and "1.conversation.json is not a chat" in faults[0].message
    with pytest.raises(LmxError, match="is not a chat"):
        chats_in([tmp_path / "1.conversation.json"])


def test_export_of_lmx_is_read(tmp_path: Path) -> None:
    (tmp_path / "chat.json").write_text('{"title": "Tides", "messages": [{"id": "a", "role": "user", "text": "hi"}]}')
    (chat,), _ = chats_in([tmp_path / "chat.json"])
    assert (chat.title, chat.messages[0].text) == ("Tides", "hi")


def test_missing_chats_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="there are no chats"):
        chats_in([tmp_path])
    with pytest.raises(LmxError, match="cannot be read"):
        chats_in([tmp_path / "missing.json"])

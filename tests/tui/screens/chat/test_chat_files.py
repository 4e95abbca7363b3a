"""Files on the Chat screen: the picker, the export of a chat, and the message in an editor."""

import contextlib
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from textual.widgets import Input

from lmx_daemon.contract.admin.chat_import import ImportedChat
from lmx_daemon.contract.errors import LmxError
from lmx_tui.app import LmxApp
from lmx_tui.screens.chat.editor import edited_text
from lmx_tui.screens.chat.file_picker import FilePicker, matching
from lmx_tui.screens.dialogs.questions import Confirm
from lmx_tui.widgets.chat.prompt import PromptInput
from tests.fake_client import FakeClient
from tests.tui.conftest import ask, running, screen_text, until
from tests.tui.screens.chat.test_kept_chats import SECONDS, answered, chat_of, shown

Make = Callable[..., LmxApp]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with files the working folder."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "parser.py").write_text("def parse(): ...")
    (tmp_path / "readme.md").write_text("# Read me")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "parser.py").write_text("hidden")
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def test_at_sign_offers_files_by_parts_of_their_path(make_app: Make, client: FakeClient, folder: Path) -> None:
    async with running(make_app()) as pilot:
        await pilot.press("f3", *"see ", "@")
        await shown(pilot, "readme.md")
        await pilot.press(*"srpar")
        await until(pilot, lambda: "readme.md" not in screen_text(pilot.app), SECONDS)
        assert "src/parser.py" in screen_text(pilot.app) and ".hidden" not in screen_text(pilot.app)
        await pilot.press("enter")
        await shown(pilot, "▤ parser.py")
        assert chat_of(pilot).query_one(PromptInput).text == "see "
        assert chat_of(pilot)._files[0].data == b"def parse(): ..."


async def test_cancelled_picker_leaves_the_sign_in_the_text(make_app: Make, client: FakeClient, folder: Path) -> None:
    async with running(make_app()) as pilot:
        await pilot.press("f3", *"a@b ", "@")
        await shown(pilot, "readme.md")
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(pilot.app.screen, FilePicker), SECONDS)
        await until(pilot, lambda: chat_of(pilot).query_one(PromptInput).text == "a@b @", SECONDS)


async def test_typed_path_outside_the_folder_is_attached(make_app: Make, client: FakeClient, folder: Path) -> None:
    (folder / ".hidden" / "notes.txt").write_text("notes")
    async with running(make_app()) as pilot:
        await pilot.press("f3", "@")
        await shown(pilot, "readme.md")
        pilot.app.screen.query_one(Input).value = str(folder / ".hidden" / "notes.txt")
        await pilot.press("enter")
        await shown(pilot, "▤ notes.txt")


def test_best_match_is_first() -> None:
    paths = ["docs/model_view.md", "lmx/message_view.py", "lmx/view.py", "other.txt"]
    assert matching(paths, "view.py")[0] == "lmx/view.py"
    assert set(matching(paths, "msgview")) == {"lmx/message_view.py"}
    assert matching(paths, "") == paths and matching(paths, "zzz") == []


async def test_export_is_written_with_its_path_shown(make_app: Make, client: FakeClient, folder: Path) -> None:
    async with running(make_app()) as pilot:
        await answered(pilot, "why", "Hello from")
        await ask(pilot, "/export talk.md")
        await shown(pilot, "written to")
        assert "Hello from **lmx**." in (folder / "talk.md").read_text()
        await ask(pilot, "/export talk.json")
        await until(pilot, (folder / "talk.json").exists, SECONDS)
        await until(pilot, lambda: screen_text(pilot.app).count("written to") == 2, SECONDS)
        chat = msgspec.json.decode((folder / "talk.json").read_bytes(), type=ImportedChat)
        assert [message.text for message in chat.messages] == ["why", "Hello from **lmx**."]


async def test_existing_file_is_replaced_only_after_a_question(
    make_app: Make, client: FakeClient, folder: Path
) -> None:
    (folder / "talk.md").write_text("mine")
    async with running(make_app()) as pilot:
        await answered(pilot, "why", "Hello from")
        await ask(pilot, "/export talk.md")
        await shown(pilot, "Replace this file?")
        await pilot.press("enter")
        await until(pilot, lambda: not isinstance(pilot.app.screen, Confirm), SECONDS)
        assert (folder / "talk.md").read_text() == "mine", "Cancel has the focus"
        await ask(pilot, "/export talk.md")
        await shown(pilot, "Replace this file?")
        await pilot.press("R")
        await shown(pilot, "written to")
        assert "Hello from **lmx**." in (folder / "talk.md").read_text()


async def test_export_into_a_missing_folder_is_an_error(make_app: Make, client: FakeClient, folder: Path) -> None:
    async with running(make_app()) as pilot:
        await answered(pilot, "why", "Hello from")
        await ask(pilot, "/export none/talk.md")
        await shown(pilot, "cannot be written: No such file or directory")


async def test_editor_that_cannot_run_leaves_the_text(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        await pilot.press("f3", *"half a thought", "f10")
        await shown(pilot, "no editor can run in this terminal")
        assert chat_of(pilot).query_one(PromptInput).text == "half a thought"


def editor(folder: Path, script: str) -> dict[str, str]:
    """Return an environment whose editor is a shell script; "$1" is the file."""
    file = folder / "my editor"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(stat.S_IRWXU)
    return {"VISUAL": f"'{file}' -w", "EDITOR": "false"}


@contextlib.contextmanager
def suspended() -> Iterator[None]:
    yield


def test_editor_gets_the_text_and_returns_it(tmp_path: Path) -> None:
    script = 'test "$1" = -w; test "$(stat -c %a "$(dirname "$2")" 2>/dev/null || stat -f %Lp "$(dirname "$2")")" = 700'
    script += ' || exit 3\nsed s/old/new/ "$2" > "$2.tmp"; mv "$2.tmp" "$2"'
    assert edited_text("the old text, ü", editor(tmp_path, script), suspended) == "the new text, ü"


@pytest.mark.parametrize(
    ("script", "words"),
    [("exit 1", "ended with status 1"), ('rm "$2"', "No such file or directory"), ("kill -9 $$", "status -9")],
)
def test_failed_editor_is_an_error(tmp_path: Path, script: str, words: str) -> None:
    with pytest.raises(LmxError, match=words) as raised:
        edited_text("text", editor(tmp_path, script), suspended)
    assert raised.value.hint is not None and "stays in the prompt" in raised.value.hint


@pytest.mark.parametrize("command", ["/no/such/editor", "'unbalanced"])
def test_unusable_editor_is_an_error(command: str) -> None:
    with pytest.raises(LmxError, match="cannot be used"):
        edited_text("text", {"EDITOR": command}, suspended)

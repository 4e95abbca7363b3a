"""The Chat screen over the daemon's chats: branches, edits, the list, drafts, files, parameters, commands."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

from lmx_daemon.client.image_files import image_type
from lmx_daemon.contract.admin.chats import Append, ChatCreate, NewMessage
from lmx_daemon.contract.generation.requests import Chat, ImagePart
from lmx_tui.app import LmxApp
from lmx_tui.screens.chat.reading import named_file
from lmx_tui.screens.chat.screen import ChatScreen
from lmx_tui.screens.chat.sheet import ParameterSheet
from lmx_tui.widgets.chat.chat_list import ChatList, ChatSearch
from lmx_tui.widgets.chat.commands import command_of, completed, suggestions
from lmx_tui.widgets.chat.prompt import PromptInput
from lmx_tui.widgets.chat.transcript import Transcript
from tests.fake_client import FakeClient
from tests.screen_states import QWEN, answer_of
from tests.tui.conftest import ask, running, screen_text, settled, until

Make = Callable[..., LmxApp]
SECONDS = 20.0


def chat_of(pilot: Pilot[None]) -> ChatScreen:
    assert isinstance(pilot.app.screen, ChatScreen)
    return pilot.app.screen


async def shown(pilot: Pilot[None], text: str) -> None:
    await until(pilot, lambda: text in screen_text(pilot.app), SECONDS)


async def answered(pilot: Pilot[None], question: str, answer: str) -> None:
    await ask(pilot, question)
    await shown(pilot, answer)
    await until(pilot, lambda: not chat_of(pilot)._chat.busy, SECONDS)


async def stored(client: FakeClient, question: str, answer: str, title: str = "") -> str:
    chat = (await client.kept.chats.create(ChatCreate(model=QWEN, title=title))).id
    messages = (NewMessage(role="user", text=question), NewMessage(role="assistant", text=answer))
    await client.kept.chats.append(chat, Append(messages=messages))
    client.kept.now += 60
    return chat


async def test_answering_again_keeps_the_first_answer_as_a_branch(make_app: Make, client: FakeClient) -> None:
    client.answer = answer_of("First words.")
    async with running(make_app()) as pilot:
        await answered(pilot, "why", "First words.")
        client.answer = answer_of("Second words.")
        await pilot.press("ctrl+r")
        await shown(pilot, "Second words.")
        await shown(pilot, "[2/2]")
        assert "First words." not in screen_text(pilot.app)
        await pilot.press("escape", "left_square_bracket")
        await shown(pilot, "First words.")
        await shown(pilot, "[1/2]")
        await pilot.press("right_square_bracket")
        await shown(pilot, "Second words.")


async def test_edited_prompt_is_a_branch(make_app: Make, client: FakeClient) -> None:
    client.answer = answer_of("First words.")
    async with running(make_app()) as pilot:
        await answered(pilot, "original", "First words.")
        client.answer = answer_of("Second words.")
        await pilot.press("escape", "k", "e")
        await shown(pilot, "a new branch")
        prompt = pilot.app.screen.query_one(PromptInput)
        assert prompt.text == "original"
        prompt.insert(" changed")
        await pilot.press("enter")
        await shown(pilot, "Second words.")
        asked = client.requests_seen[1].prompt
        assert isinstance(asked, Chat) and [message.text for message in asked.messages] == ["original changed"]
        await shown(pilot, "[2/2]")


async def test_edited_answer_is_continued(make_app: Make, client: FakeClient) -> None:
    client.answer = answer_of("First words.")
    async with running(make_app()) as pilot:
        await answered(pilot, "why", "First words.")
        await pilot.press("escape", "e")
        await shown(pilot, "an edited answer")
        prompt = pilot.app.screen.query_one(PromptInput)
        prompt.text = "My words,"
        await pilot.press("enter")
        await shown(pilot, "[2/2]")
        client.answer = answer_of(" and more.")
        await pilot.press("escape", "c")
        await shown(pilot, "My words, and more.")
        asked = client.requests_seen[1].prompt
        assert isinstance(asked, Chat) and asked.continue_last and asked.messages[-1].text == "My words,"


async def test_fork_opens_a_copy(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        await answered(pilot, "why", "Hello from")
        first = chat_of(pilot)._chat.id
        await pilot.press("escape", "f")
        await shown(pilot, "(fork)")
        assert chat_of(pilot)._chat.id not in ("", first) and len(chat_of(pilot)._chat.path) == 2


async def test_words_find_an_old_chat(make_app: Make, client: FakeClient) -> None:
    await stored(client, "why do whales surface?", "They breathe air.")
    await stored(client, "regex for dates", "Use four digits.")
    async with running(make_app()) as pilot:
        await pilot.press("f3", "ctrl+l")
        await shown(pilot, "why do whales surface?")
        await pilot.press(*"breathe")
        await shown(pilot, "1 found")
        assert "They breathe air." in screen_text(pilot.app), "the words that were found"
        await pilot.press("enter")
        await until(pilot, lambda: len(chat_of(pilot)._chat.path) == 2, SECONDS)
        await shown(pilot, "They breathe air.")
        assert isinstance(pilot.app.focused, PromptInput)
        await answered(pilot, "and fish?", "Hello from")
        asked = client.requests_seen[0].prompt
        assert isinstance(asked, Chat) and asked.messages[0].text == "why do whales surface?"


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_search_field_has_the_focus_before_the_list_is_drawn(make_app: Make, size: tuple[int, int]) -> None:
    async with running(make_app(), size) as pilot:
        await pilot.press("f3")
        chat_of(pilot).action_list()
        assert isinstance(pilot.app.focused, ChatSearch)
        await pilot.press(*"remove")
        assert pilot.app.focused.value == "remove"


async def test_list_renames_pins_deletes_and_restores(make_app: Make, client: FakeClient) -> None:
    whales = await stored(client, "why do whales surface?", "They breathe air.")
    await stored(client, "regex for dates", "Use four digits.")
    async with running(make_app()) as pilot:
        await pilot.press("f3", "ctrl+l")
        await shown(pilot, "why do whales surface?")
        await pilot.press("tab", "j", "p")
        await shown(pilot, "★")
        rows = await client.kept.chats.listed(limit=9)
        assert rows[0].id == whales and rows[0].pinned
        await until(pilot, lambda: _row_id(pilot) == whales, SECONDS)
        await pilot.press("r")
        await until(pilot, lambda: isinstance(pilot.app.focused, Input), SECONDS)
        await pilot.press(*"Sea", "enter")
        await shown(pilot, "Sea")
        await pilot.press("d")
        await shown(pilot, "Delete this chat?")
        await pilot.press("D")
        await until(pilot, lambda: "★" not in screen_text(pilot.app), SECONDS)
        assert len(await client.kept.chats.listed(limit=9)) == 1
        await pilot.press("u")
        await shown(pilot, "★ Sea")


def _row_id(pilot: Pilot[None]) -> str:
    row = pilot.app.screen.query_one(ChatList).current
    return row.id if row is not None else ""


async def test_open_chat_and_its_draft_are_there_after_a_restart(
    make_app: Make, client: FakeClient, tmp_path: Path
) -> None:
    from lmx_daemon.settings.paths import Home

    home = Home(tmp_path)
    async with running(make_app(home=home)) as pilot:
        await answered(pilot, "why", "Hello from")
        chat_of(pilot).query_one(PromptInput).insert("half a thought")
        await until(pilot, lambda: ("draft", "half a thought") in _drafts(client), SECONDS)
        await until(pilot, home.choices.exists, SECONDS)
    async with running(make_app(home=home)) as pilot:
        await pilot.press("f3")
        await shown(pilot, "Hello from")
        await until(pilot, lambda: chat_of(pilot).query_one(PromptInput).text == "half a thought", SECONDS)


def _drafts(client: FakeClient) -> list[tuple[str, Any]]:
    return [("draft", change.draft) for name, change in client.chat_calls if name == "change_chat"]


async def test_answer_goes_on_while_another_chat_is_open(make_app: Make, client: FakeClient) -> None:
    client.answer = answer_of("slow words " * 10)
    client.hold_at = 4
    async with running(make_app()) as pilot:
        await ask(pilot, "the slow one")
        await shown(pilot, "slow words")
        first = chat_of(pilot)._chat.id
        await pilot.press("ctrl+n")
        await shown(pilot, "Ask anything")
        await client.cancel(client.requests_seen[0].id)
        await pilot.press("ctrl+l")
        await shown(pilot, "the slow one")
        await pilot.press("enter")
        await until(pilot, lambda: chat_of(pilot)._chat.id == first, SECONDS)
        await shown(pilot, "stopped")


async def test_pasted_path_is_attached_and_backspace_removes_it(
    make_app: Make, client: FakeClient, tmp_path: Path
) -> None:
    (tmp_path / "my notes.md").write_text("the content")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    async with running(make_app()) as pilot:
        await pilot.press("f3")
        await settled(pilot)
        prompt = pilot.app.screen.query_one(PromptInput)
        for path in (str(tmp_path / "my notes.md").replace(" ", "\\ "), f"'{tmp_path}/a.png'"):
            prompt.post_message(PromptInput.Pasted(path))
        await shown(pilot, "a.png")
        await shown(pilot, "my notes.md")
        await pilot.press("backspace")
        await until(pilot, lambda: len(chat_of(pilot)._files) == 1, SECONDS)
        await ask(pilot, "what is this?")
        await until(pilot, lambda: client.requests_seen, SECONDS)
        asked = client.requests_seen[0].prompt
        assert isinstance(asked, Chat)
        assert any(isinstance(part, ImagePart) for part in asked.messages[0].content) or (
            "the content" in asked.messages[0].text
        )


async def test_sheet_sets_the_parameters_of_the_next_answer(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        await pilot.press("f3", "ctrl+o")
        await until(pilot, lambda: isinstance(pilot.app.screen, ParameterSheet), SECONDS)
        sheet = pilot.app.screen
        sheet.query_one(TextArea).text = "Be brief."
        sheet.query_one("#temperature", Input).value = "hot"
        await shown(pilot, "temperature is 0 to 2, not 'hot'")
        await pilot.press("ctrl+o")
        assert pilot.app.screen is sheet and pilot.app.focused is sheet.query_one("#temperature", Input)
        sheet.query_one("#temperature", Input).value = "0.3"
        sheet.query_one("#thinking", Input).value = "off"
        await pilot.press("enter")
        await shown(pilot, "temp 0.3")
        await ask(pilot, "why")
        await until(pilot, lambda: client.requests_seen, SECONDS)
        request = client.requests_seen[0]
        assert isinstance(request.prompt, Chat)
        assert (request.sampling.temperature, request.prompt.thinking) == (0.3, False)
        assert request.prompt.messages[0].role == "system" and request.prompt.messages[0].text == "Be brief."


async def test_commands_are_suggested_completed_and_run(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        await answered(pilot, "why", "Hello from")
        prompt = pilot.app.screen.query_one(PromptInput)
        prompt.insert("/tit")
        await shown(pilot, "name this chat")
        await pilot.press("tab")
        prompt.insert("Seas and air")
        await pilot.press("enter")
        await shown(pilot, "Seas and air")
        await ask(pilot, "/nonsense")
        await shown(pilot, "there is no command /nonsense")
        assert len(client.requests_seen) == 1


async def test_draft_counts_in_the_context_meter(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        await answered(pilot, "why", "Hello from")
        await shown(pilot, " 4.3k/40k")
        pilot.app.screen.query_one(PromptInput).insert("word " * 8000)
        await shown(pilot, "~14.3k/40k")
        pilot.app.screen.query_one(PromptInput).insert("word " * 24000)
        await shown(pilot, "too long")


async def test_reader_who_has_scrolled_stays_where_they_are(make_app: Make, client: FakeClient) -> None:
    client.answer = answer_of("\n\n".join(f"line {number}" for number in range(120)), pieces=40)
    client.hold_at = 30
    async with running(make_app()) as pilot:
        await ask(pilot, "long")
        await shown(pilot, "line 80")
        transcript = pilot.app.screen.query_one(Transcript)
        await pilot.press("pageup", "pageup")
        await settled(pilot)
        before = transcript.scroll_offset.y
        assert transcript.has_more
        await client.cancel(client.requests_seen[0].id)
        await until(pilot, lambda: not chat_of(pilot)._chat.busy, SECONDS)
        assert transcript.scroll_offset.y == before


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("/model qwen 3", ("model", "qwen 3")),
        ("/new", ("new", "")),
        ("//slash", None),
        ("/etc/hosts is", None),
        ("no", None),
    ],
)
def test_slash_at_the_beginning_names_a_command(text: str, found: tuple[str, str] | None) -> None:
    assert command_of(text) == found


def test_begun_command_is_completed() -> None:
    assert completed("/par") == "/params " and completed("/xyz") == "/xyz" and completed("text") == "text"
    assert "/params" in suggestions("/p") and suggestions("/file ") == "" and suggestions("text") == ""


def test_only_existing_files_are_taken_from_a_paste(tmp_path: Path) -> None:
    (tmp_path / "a b.txt").write_text("x")
    path = tmp_path / "a b.txt"
    assert named_file(f"file://{str(path).replace(' ', '%20')}") == path
    assert named_file(str(path)) == path and named_file(f"'{path}'\n") == path
    assert named_file("/no/such/file") is None and named_file("see /etc/hosts") is None and named_file("a\nb") is None
    assert image_type(b"RIFF1234WAVE") is None and image_type(b"\xff\xd8\xff\xe0") == "image/jpeg"

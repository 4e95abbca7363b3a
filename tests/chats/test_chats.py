"""Chats over scripted models: answers that are stored as they grow, readers, branches, titles, exports."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lmx_daemon.chats import answers as answers_module
from lmx_daemon.chats.chats import Chats
from lmx_daemon.chats.store.store import ChatStore
from lmx_daemon.chats.title_maker import TitleMaker
from lmx_daemon.chats.titles import title_from
from lmx_daemon.contract.admin.chat_import import ChatImport, ImportedChat
from lmx_daemon.contract.admin.chat_tree import path_to
from lmx_daemon.contract.admin.chats import (
    Append,
    Ask,
    AskAgain,
    Attachment,
    ChatChange,
    ChatCreate,
    ChatDetail,
    ChatSettings,
    ChatUpdate,
    EditMessage,
    NewMessage,
    StoredMessage,
)
from lmx_daemon.contract.errors import BusyError, ConflictError, DiskError, NotFoundError, RequestError
from lmx_daemon.contract.generation.chat_answer import ChatAnswer
from lmx_daemon.contract.generation.events import Delta
from lmx_daemon.contract.generation.requests import Chat, ImagePart, Sampling
from tests.chats.scripted_models import ScriptedModels
from tests.screen_states import QWEN, answer_of, finished


@pytest.fixture
def models() -> ScriptedModels:
    return ScriptedModels(answer_of("Hello **there**.", reasoning="think"))


@pytest.fixture
async def chats(tmp_path: Path, models: ScriptedModels) -> AsyncGenerator[Chats]:
    tasks: set[asyncio.Future[None]] = set()

    def run(work: Any) -> None:
        tasks.add(asyncio.ensure_future(work))

    chats = Chats(ChatStore(tmp_path / "chats.db"), models, run)
    yield chats
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await chats.close()


async def until(chats: Chats, chat: str, true: Callable[[ChatDetail], object]) -> ChatDetail:
    async with asyncio.timeout(20):
        while not true(found := await chats.get(chat)):
            await asyncio.sleep(0.01)
    return found


async def begun(chats: Chats, **fields: Any) -> str:
    return (await chats.create(ChatCreate(**({"model": QWEN} | fields)))).id


async def asked(chats: Chats, chat: str, text: str, **fields: Any) -> ChatDetail:
    """Return the chat once the answer to `text` has ended."""
    await chats.ask(chat, Ask(text=text, **fields))
    return await until(chats, chat, lambda found: not found.row.running)


async def test_an_answer_is_stored_with_its_figures(chats: Chats, models: ScriptedModels) -> None:
    chat = await begun(chats, settings=ChatSettings(system="Be brief.", sampling=Sampling(top_k=3)))
    found = await asked(chats, chat, "hi", tenant="tui", client="lmx tui")
    user, answer = found.messages
    assert (user.role, user.text, answer.parent, found.leaf) == ("user", "hi", user.id, answer.id)
    assert (answer.text, answer.reasoning, answer.state) == ("Hello **there**.", "think", "done")
    assert answer.figures is not None and answer.figures.tokens == 214 and answer.figures.cached_tokens == 3832
    assert round(answer.figures.rate or 0, 1) == 71.4 and answer.figures.first_token == 0.09
    request = models.requests[0]
    assert isinstance(request.prompt, Chat) and request.sampling.top_k == 3
    assert (request.tenant, request.client, request.model) == ("tui", "lmx tui", QWEN)
    assert [(message.role, message.text) for message in request.prompt.messages] == [
        ("system", "Be brief."),
        ("user", "hi"),
    ]


async def test_earlier_turns_are_sent_without_thinking_and_without_failed_turns(
    chats: Chats, models: ScriptedModels
) -> None:
    chat = await begun(chats)
    await asked(chats, chat, "one")
    models.error = BusyError("the queue is full", hint="later")
    failed = await asked(chats, chat, "two")
    assert failed.messages[-1].state == "failed"
    assert failed.messages[-1].error is not None and failed.messages[-1].error.message == "the queue is full"
    models.error = None
    await asked(chats, chat, "three")
    prompt = models.requests[-1].prompt
    assert isinstance(prompt, Chat)
    texts = [(message.role, message.text) for message in prompt.messages]
    assert texts == [("user", "one"), ("assistant", "Hello **there**."), ("user", "three")]


async def test_a_growing_answer_is_on_the_disk_before_it_ends(
    chats: Chats, models: ScriptedModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers_module, "FLUSH_SECONDS", 0.02)
    models.answer = []
    chat = await begun(chats)
    await chats.ask(chat, Ask(text="go"))
    await until(chats, chat, lambda _: models.readings)
    models.readings[0].send(Delta(id="", content="half of the words", tokens=3))
    other = ChatStore(tmp_path / "copy.db")
    other.close()
    async with asyncio.timeout(20):
        while b"half of the words" not in b"".join(file.read_bytes() for file in tmp_path.glob("chats.db*")):
            await asyncio.sleep(0.02)
    assert (await chats.get(chat)).messages[1].state == "running"
    models.readings[0].send(finished())
    await until(chats, chat, lambda found: found.messages[1].state == "done")


async def test_an_answer_that_a_full_disk_refused_is_kept_and_written_later(
    chats: Chats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(store: ChatStore, message: StoredMessage) -> bool:
        raise DiskError("the disk is full")

    def stored() -> list[tuple[str, str]]:
        with closing(sqlite3.connect(tmp_path / "chats.db")) as database:
            return database.execute("SELECT state, text FROM messages ORDER BY number").fetchall()

    chat = await begun(chats)
    with monkeypatch.context() as full:
        full.setattr(ChatStore, "update", refused)
        found = await asked(chats, chat, "hi")
        await chats.look()
        assert stored()[1] == ("running", "")
        assert (found.messages[1].state, found.messages[1].text) == ("done", "Hello **there**.")
        assert (await chats.get(chat)).messages == found.messages
    await chats.look()
    assert stored()[1] == ("done", "Hello **there**.")
    await chats.remove_messages(chat, found.messages[0].id)


async def test_readers_see_the_same_answer(chats: Chats, models: ScriptedModels) -> None:
    models.answer = []
    chat = await begun(chats)
    await chats.ask(chat, Ask(text="go"))
    await until(chats, chat, lambda _: models.readings)
    models.readings[0].send(Delta(id="", content="one ", tokens=1))
    await until(chats, chat, lambda found: found.messages[1].text == "one ")
    readers = [chats.watch(chat), chats.watch(chat)]
    texts = []
    for reader in readers:
        first = await anext(reader)
        assert first is not None and first.chat is not None and first.chat.row.running
        texts.append(first.chat.messages[1].text)
    models.readings[0].send(Delta(id="", content="two", tokens=1), finished())
    for place, reader in enumerate(readers):
        answer = ChatAnswer("", QWEN, 0.0, content=texts[place])
        last: ChatUpdate | None = None
        while last is None or last.message is None:
            last = await asyncio.wait_for(anext(reader), 20)
            assert last is not None
            for event in last.events:
                answer.consume(event, 0.0)
        assert answer.content == "one two" == last.message.text
        await reader.aclose()


async def test_answering_again_and_editing_make_branches(chats: Chats, models: ScriptedModels) -> None:
    chat = await begun(chats)
    first = await asked(chats, chat, "one")
    user, answer = first.messages
    models.answer = answer_of("Another.")
    await chats.ask_again(chat, AskAgain(message=user.id))
    found = await until(chats, chat, lambda found: not found.row.running)
    assert [message.text for message in path_to(found.messages, found.leaf)] == ["one", "Another."]
    await asked(chats, chat, "one, but better", parent=user.parent or "")
    edited = await chats.edit(chat, EditMessage(message=answer.id, text="Hello, edited."))
    assert (edited.parent, edited.role, (await chats.get(chat)).leaf) == (user.id, "assistant", edited.id)
    await chats.change(chat, ChatChange(leaf=answer.id))
    assert (await chats.get(chat)).leaf == answer.id
    assert len((await chats.get(chat)).messages) == 6


async def test_an_answer_is_continued_in_place(chats: Chats, models: ScriptedModels) -> None:
    chat = await begun(chats)
    answer = (await asked(chats, chat, "one")).messages[1]
    models.answer = answer_of(" And more.")
    await chats.ask_again(chat, AskAgain(message=answer.id))
    found = await until(chats, chat, lambda found: not found.row.running)
    assert found.messages[1].text == "Hello **there**. And more." and len(found.messages) == 2
    prompt = models.requests[-1].prompt
    assert isinstance(prompt, Chat) and prompt.continue_last and prompt.messages[-1].text == "Hello **there**."


async def test_an_answer_is_continued_once_at_a_time(chats: Chats, models: ScriptedModels) -> None:
    chat = await begun(chats)
    answer = (await asked(chats, chat, "one")).messages[1]
    models.answer = answer_of(" And more.")
    again = [chats.ask_again(chat, AskAgain(message=answer.id)) for _ in range(4)]
    results = await asyncio.gather(*again, return_exceptions=True)
    refused = [result for result in results if isinstance(result, ConflictError)]
    found = await until(chats, chat, lambda found: not found.row.running)
    assert len(refused) == 3 and len(models.requests) == 2
    assert found.messages[1].text == "Hello **there**. And more."
    await chats.ask_again(chat, AskAgain(message=answer.id))  # the claim ends with the answer
    found = await until(chats, chat, lambda found: not found.row.running)
    assert found.messages[1].text == "Hello **there**. And more. And more."


async def test_an_answer_that_was_removed_is_not_continued(
    chats: Chats, models: ScriptedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = await begun(chats)
    answer = (await asked(chats, chat, "one")).messages[1]
    update = ChatStore.update

    def removed_before(store: ChatStore, message: StoredMessage) -> bool:
        store.remove_messages(chat, answer.id)
        return update(store, message)

    monkeypatch.setattr(ChatStore, "update", removed_before)
    with pytest.raises(NotFoundError, match="no message"):
        await chats.ask_again(chat, AskAgain(message=answer.id))
    assert len(models.requests) == 1


async def test_files_are_part_of_the_prompt(chats: Chats, models: ScriptedModels) -> None:
    chat = await begun(chats)
    files = (
        Attachment(name="notes.md", media_type="text/markdown", data=b"```\ncode\n```"),
        Attachment(name="a.png", media_type="image/png", data=b"\x89PNG"),
    )
    found = await asked(chats, chat, "what is this?", attachments=files)
    assert [(file.name, file.size, file.data) for file in found.messages[0].attachments] == [
        ("notes.md", 12, b""),
        ("a.png", 4, b""),
    ]
    await asked(chats, chat, "and now?")
    for request in models.requests:
        assert isinstance(request.prompt, Chat)
        first = request.prompt.messages[0]
        assert first.content[0] == ImagePart(data=b"\x89PNG", media_type="image/png")
        assert first.text == "notes.md:\n````\n```\ncode\n```\n````\n\nwhat is this?"


async def test_a_chat_whose_answer_runs_is_not_deleted(chats: Chats, models: ScriptedModels) -> None:
    models.answer = []
    chat = await begun(chats)
    await chats.ask(chat, Ask(text="go"))
    with pytest.raises(ConflictError, match="being generated"):
        await chats.delete(chat)
    await until(chats, chat, lambda _: models.readings)
    models.readings[0].send(finished())
    await until(chats, chat, lambda found: not found.row.running)
    await chats.delete(chat)
    assert await chats.listed(limit=9) == []


async def test_fork_has_a_copy_of_one_branch(chats: Chats) -> None:
    chat = await begun(chats)
    found = await asked(chats, chat, "one", attachments=(Attachment(name="a.txt", data=b"x"),))
    await chats.ask_again(chat, AskAgain(message=found.messages[0].id))
    await until(chats, chat, lambda found: not found.row.running)
    fork = await chats.fork(chat, found.messages[1].id)
    copy = await chats.get(fork.id)
    assert fork.title == "one (fork)" and [message.text for message in copy.messages] == ["one", "Hello **there**."]
    assert {message.id for message in copy.messages}.isdisjoint(message.id for message in found.messages)
    assert (await chats.export(fork.id, "json")).text.count('"data": "eA=="') == 1


async def test_export_as_json_is_imported_whole(chats: Chats) -> None:
    chat = await begun(chats, title="A/B: tests", tags=("x",))
    await asked(chats, chat, "one", attachments=(Attachment(name="a.txt", data=b"x"),))
    before = await chats.get(chat)
    exported = await chats.export(chat, "json")
    assert exported.name == "A-B-tests.json"
    imported = msgspec.json.decode(exported.text, type=ImportedChat)
    assert (await chats.import_all(ChatImport(chats=(imported,)))).present == 1, "it is there already"
    other = msgspec.structs.replace(imported, origin="elsewhere")
    row = (await chats.import_all(ChatImport(chats=(other,)))).rows[0]
    after = await chats.get(row.id)
    assert [message.text for message in after.messages] == [message.text for message in before.messages]
    assert after.messages[0].attachments[0].size == 1 and after.messages[1].figures == before.messages[1].figures
    text = (await chats.export(chat, "markdown")).text
    assert text.startswith("# A/B: tests\n") and "Hello **there**." in text and "a.txt" in text


async def test_messages_are_appended_without_an_answer(chats: Chats) -> None:
    chat = await begun(chats)
    messages = (NewMessage(role="user", text="whales"), NewMessage(role="assistant", text="swim"))
    added = await chats.append(chat, Append(messages=messages))
    assert added[1].parent == added[0].id and (await chats.get(chat)).leaf == added[1].id
    assert [row.id for row in await chats.search("swim", 5)] == [chat]


async def test_a_chat_without_a_model_is_refused(chats: Chats) -> None:
    chat = await begun(chats, model="")
    with pytest.raises(RequestError, match="no model"):
        await chats.ask(chat, Ask(text="go"))
    assert (await chats.get(chat)).messages == (), "nothing is kept of a refused prompt"
    await chats.ask(chat, Ask(text="go", model=QWEN))
    assert (await chats.get(chat)).row.model == QWEN, "a chat keeps its model"


def maker_of(chats: Chats, models: ScriptedModels, running: Callable[[], int]) -> TitleMaker:
    return TitleMaker(chats, models, enabled=lambda: True, loaded=lambda: {QWEN, "lmx/guide"}, running=running)


async def test_title_is_made_while_the_machine_is_idle(chats: Chats, models: ScriptedModels) -> None:
    chat, requests = await begun(chats), 1
    await asked(chats, chat, "why do whales surface?")
    maker = maker_of(chats, models, lambda: requests)
    models.answer = answer_of('"Whales and air."\n')
    await maker.look()
    await maker.look()
    assert len(models.requests) == 1, "a request runs"
    requests = 0
    await maker.look()
    await maker.look()
    assert (await chats.get(chat)).row.title == "Whales and air"
    request = models.requests[-1]
    assert request.max_tokens is not None and request.priority == -10
    await maker.look()
    assert len(models.requests) == 2


async def test_title_gives_way_to_a_request_and_is_tried_again(chats: Chats, models: ScriptedModels) -> None:
    chat, requests = await begun(chats), 0
    await asked(chats, chat, "why?")
    maker = maker_of(chats, models, lambda: requests)
    models.answer = []
    await maker.look()
    look = asyncio.ensure_future(maker.look())
    await until(chats, chat, lambda _: len(models.readings) == 2)
    requests = 2
    await look
    assert models.readings[1].released and (await chats.get(chat)).row.title == ""
    requests, models.answer = 0, answer_of("Reasons")
    await maker.look()
    await maker.look()
    assert (await chats.get(chat)).row.title == "Reasons"


async def test_the_user_s_title_and_the_guide_s_chats_are_left_alone(chats: Chats, models: ScriptedModels) -> None:
    named, guided = await begun(chats, title="Mine"), await begun(chats, model="lmx/guide")
    await asked(chats, named, "x")
    await asked(chats, guided, "y")
    maker = maker_of(chats, models, lambda: 0)
    await maker.look()
    await maker.look()
    assert len(models.requests) == 2


@pytest.mark.parametrize(
    ("answer", "title"),
    [
        ("Title: **Fish and Chips.**", "Fish and Chips"),
        ("<think>long\nthought</think>\n\n„Fische“", "Fische"),
        ("<think>never ended", ""),
        ("  \n", ""),
        ("word " * 40, "word word word word word word word word word word word word…"[:60]),
        ("a\x1b[31mb", "a [31mb"),
    ],
)
def test_title_is_the_first_line_without_decoration(answer: str, title: str) -> None:
    found = title_from(answer)
    assert found == title or (found.endswith("…") and len(found) <= 60 and title.endswith("…"))

"""The parts of `lmx chat`: wrapped answers, parameters, files, and what a person types."""

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from lmx_cli.chat import files
from lmx_cli.chat.parameters import ChatParameters, changed, described, names
from lmx_cli.chat.typed import InputHistory, message
from lmx_cli.chat.wrapping import WordWrap
from lmx_cli.text.layout import cells
from lmx_daemon.client.conversation import Conversation
from lmx_daemon.contract.errors import RequestError, UsageError
from lmx_daemon.contract.generation.requests import Chat, ImagePart, TextPart

ANSWER = "The cache keeps keys and values of earlier tokens, so that a second turn computes its new text only.\n\nDone."


def wrapped(text: str, width: int, piece: int) -> str:
    wrap = WordWrap()
    pieces = [text[start : start + piece] for start in range(0, len(text), piece)]
    return "".join(wrap.add(each, width) for each in pieces) + wrap.end(width)


@pytest.mark.parametrize("piece", [1, 3, 1000])
@pytest.mark.parametrize("width", [12, 30, 60])
def test_answer_is_cut_between_words_however_it_arrives(width: int, piece: int) -> None:
    shown = wrapped(ANSWER, width, piece)
    assert max(cells(line.rstrip()) for line in shown.split("\n")) <= width
    assert shown.split() == ANSWER.split()
    assert shown.endswith("\n\nDone.")


def test_code_and_long_words_keep_their_lines() -> None:
    code = "see:\n```python\nvalue = function(one, two, three, four, five)\n```\nand then some more words here"
    shown = wrapped(code, 20, 4)
    assert "value = function(one, two, three, four, five)\n```\n" in shown
    assert "http://127.0.0.1:1234/v1/chat" in wrapped("open http://127.0.0.1:1234/v1/chat now", 20, 5)
    assert wrapped("模型" * 20, 10, 3) == "模型" * 20


def test_parameters_are_set_checked_and_unset() -> None:
    found = changed(ChatParameters(), ["temperature=0.2", "top_k=40", "max_tokens=9", "thinking=off"])
    assert (found.sampling.temperature, found.sampling.top_k) == (0.2, 40)
    assert (found.max_tokens, found.thinking) == (9, False)
    assert described(found) == "temperature=0.2, top_k=40, max_tokens=9, thinking=off"
    assert changed(found, ["temperature=", "top_k=", "max_tokens=", "thinking="]) == ChatParameters()
    assert described(ChatParameters()) == "all parameters are left to the model"


@pytest.mark.parametrize("word", ["temperature=9", "temperature=hot", "max_tokens=0", "thinking=x", "nosuch=1", "seed"])
def test_wrong_parameter_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match=word.partition("=")[0]):
        changed(ChatParameters(), [word])
    assert "temperature" in names() and "logit_bias" not in names()


def typed(*lines: str) -> Callable[[str], str]:
    waiting = iter(lines)
    return lambda prompt: next(waiting)


def test_message_of_several_lines() -> None:
    assert message(typed(" hello ", "next")) == "hello"
    assert message(typed("one \\", "two\\", "three")) == "one \ntwo\nthree"
    assert message(typed('"""first', "  indented", 'last"""')) == "first\n  indented\nlast"
    assert message(typed('"""one line"""')) == "one line"


def test_history_is_kept_for_the_next_session_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    import readline

    file = tmp_path / "lines"
    first = InputHistory(file)
    for line in ("hello", "hello", "two\nlines", ""):
        first.add(line)
    first.save()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.write_bytes(file.read_bytes() + b'{"damaged\n')
    second = InputHistory(file)
    assert [readline.get_history_item(1), readline.get_history_item(2)] == ["hello", "two\nlines"]
    second.add("third")
    second.save()
    assert len(file.read_text().splitlines()) == 3
    readline.clear_history()


def test_files_go_with_the_question_and_the_conversation_is_saved_once(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("a note\n")
    (tmp_path / "raw").write_bytes(b"\xff\xfe\x00")
    text = files.content_of(str(tmp_path / "notes.txt"))
    assert isinstance(text, str)
    assert files.with_files("sum it up", [("notes.txt", text)]) == "notes.txt:\n```\na note\n```\n\nsum it up"
    assert files.with_files("hi", []) == "hi"
    with pytest.raises(RequestError, match="not UTF-8 text"):
        files.content_of(str(tmp_path / "raw"))
    with pytest.raises(RequestError, match="cannot read"):
        files.content_of(str(tmp_path / "nosuch"))
    conversation = Conversation(tenant="t", client="c", system="be brief")
    conversation.ask("hi", "m", 0.0)
    assert conversation.answer is not None
    conversation.answer.content = "hello"
    found = json.loads(files.as_json(conversation.turns, conversation.system))
    assert [each["role"] for each in found["messages"]] == ["system", "user", "assistant"]
    assert "## Answer of m\n\nhello" in files.as_markdown(conversation.turns, None)
    path = files.save(str(tmp_path / "kept.json"), "{}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(RequestError, match="exists"):
        files.save(str(path), "{}")


def test_fence_of_a_file_is_longer_than_those_in_it() -> None:
    asked = files.with_files("why?", [("notes.md", "```python\nx = 1\n```\n")])
    assert asked == "notes.md:\n````\n```python\nx = 1\n```\n````\n\nwhy?"


def test_images_go_with_one_question_and_are_saved_as_a_request_has_them(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nrest")
    image = files.content_of(str(tmp_path / "a.png"))
    assert image == ImagePart(data=b"\x89PNG\r\n\x1a\nrest", media_type="image/png")
    conversation = Conversation(tenant="t", client="c")
    request = conversation.ask("what is this?", "m", 0.0, (image,))
    assert isinstance(request.prompt, Chat)
    assert request.prompt.messages[0].content == (image, TextPart(text="what is this?"))
    content = json.loads(files.as_json(conversation.turns, None))["messages"][0]["content"]
    assert content[0]["image_url"]["url"].startswith("data:image/png;base64,") and content[1]["text"] == "what is this?"


def test_text_that_is_too_large_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"x" * (files.MAX_TEXT_BYTES + 1))
    with pytest.raises(RequestError, match=r"log has 4\.2 MB") as refused:
        files.content_of(str(tmp_path / "log"))
    assert refused.value.hint == "a text file has at most 4.2 MB"

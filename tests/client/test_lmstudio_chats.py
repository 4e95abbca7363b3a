"""Chats of LM Studio as chats of lmx: versions, steps, thinking, tools, and files of any content."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis.strategies import booleans, dictionaries, floats, integers, lists, none, recursive, sampled_from, text

from lmx_daemon.client.lmstudio_chats import chat_of
from lmx_daemon.contract.admin.chat_import import ChatImport, ImportedChat

NAME = "1718000000000.conversation.json"
KEYS = sampled_from(
    ["versions", "currentlySelected", "type", "role", "content", "steps", "style", "genInfo", "stats", "text",
     "promptTokensCount", "tokensPerSecond", "parameters", "callId", "name", "fields", "key", "value", "checked"]
)  # fmt: skip
WORDS = sampled_from(
    ["singleStep", "multiStep", "user", "assistant", "contentBlock", "thinking", "text", "toolCallRequest",
     "toolCallResult", "llm.prediction.temperature"]
)  # fmt: skip
LEAVES = none() | booleans() | integers() | floats() | text(max_size=5) | WORDS
VALUES = recursive(
    LEAVES, lambda inner: lists(inner, max_size=3) | dictionaries(KEYS, inner, max_size=6), max_leaves=25
)
TOP = sampled_from(["name", "createdAt", "pinned", "lastUsedModel", "perChatPredictionConfig", "systemPrompt"])


def user(*texts: str, selected: int = 0) -> dict[str, Any]:
    versions = [{"type": "singleStep", "role": "user", "content": [{"type": "text", "text": each}]} for each in texts]
    return {"versions": versions, "currentlySelected": selected}


def block(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "contentBlock", "content": [{"type": "text", "text": words}], **more}


def answer(*steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "multiStep", "role": "assistant", "steps": list(steps), **more}


def chat(*messages: Any, **more: Any) -> ImportedChat:
    return chat_of(json.dumps({"name": "Tides", "messages": list(messages), **more}).encode(), NAME, "sea")


class TestChat:
    def test_text_thinking_and_figures_of_an_answer(self) -> None:
        stats = {
            "promptTokensCount": 12,
            "predictedTokensCount": 30,
            "tokensPerSecond": 41.5,
            "timeToFirstTokenSec": 0.2,
        }
        found = chat(
            user("Why are there two tides a day?"),
            {
                "versions": [
                    answer(
                        block("The moon pulls.", style={"type": "thinking", "ended": True}),
                        block(
                            "Because the water bulges on both sides.",
                            genInfo={"identifier": "maker/one", "stats": stats},
                        ),
                        {"type": "debugInfoBlock", "debugInfo": "of no interest"},
                    )
                ],
                "currentlySelected": 0,
            },
            createdAt=1718000000000,
            assistantLastMessagedAt=1718000060000,
            pinned=True,
        )
        question, reply = found.messages
        assert (question.role, question.text, question.parent) == ("user", "Why are there two tides a day?", None)
        assert (reply.reasoning, reply.text) == ("The moon pulls.", "Because the water bulges on both sides.")
        assert (reply.parent, reply.model, found.leaf, found.model) == (question.id, "maker/one", reply.id, "maker/one")
        assert reply.figures is not None and (reply.figures.tokens, reply.figures.rate) == (30, 41.5)
        assert (found.title, found.folder, found.pinned) == ("Tides", "sea", True)
        assert (found.created_at, found.changed_at, found.origin) == (1718000000.0, 1718000060.0, f"lmstudio:{NAME}")

    def test_versions_are_branches_and_the_selected_one_continues(self) -> None:
        replies = {"versions": [answer(block("one")), answer(block("two"))], "currentlySelected": 0}
        found = chat(user("a", "b", selected=1), replies, user("c"))
        by_text = {message.text: message for message in found.messages}
        assert by_text["a"].parent is None and by_text["b"].parent is None
        assert by_text["one"].parent == by_text["two"].parent == by_text["b"].id
        assert by_text["c"].parent == by_text["one"].id and found.leaf == by_text["c"].id

    def test_calls_of_tools_and_their_results_are_messages(self) -> None:
        call = {"type": "toolCallRequest", "callId": 7, "name": "depth", "parameters": {"place": "Fundy"}}
        result = {"type": "toolCallResult", "toolCallId": 7, "content": "16 m"}
        found = chat(
            user("How high?"),
            {
                "versions": [
                    answer(
                        block("I look."),
                        {"type": "contentBlock", "content": [call]},
                        {"type": "contentBlock", "content": [result]},
                        block("16 metres."),
                    )
                ]
            },
        )
        assert [(each.role, each.text) for each in found.messages[1:]] == [
            ("assistant", "I look."), ("tool", "16 m"), ("assistant", "16 metres."),
        ]  # fmt: skip
        (made,) = found.messages[1].tool_calls
        assert (made.name, json.loads(made.arguments)) == ("depth", {"place": "Fundy"})
        assert [each.parent for each in found.messages[1:]] == [each.id for each in found.messages[:-1]]

    def test_system_prompt_and_sampling_of_the_chat(self) -> None:
        fields = [
            {"key": "llm.prediction.systemPrompt", "value": "Be brief."},
            {"key": "llm.prediction.temperature", "value": 0.3},
            {"key": "llm.prediction.topPSampling", "value": {"checked": False, "value": 0.5}},
            {"key": "llm.prediction.minPSampling", "value": {"checked": True, "value": 0.1}},
            {"key": "llm.prediction.topKSampling", "value": -4},
            {"key": "llm.prediction.maxPredictedTokens", "value": {"checked": True, "value": 400}},
        ]
        found = chat(perChatPredictionConfig={"fields": fields}).settings
        assert (found.system, found.max_tokens) == ("Be brief.", 400)
        assert (found.sampling.temperature, found.sampling.top_p, found.sampling.min_p) == (0.3, None, 0.1)
        assert found.sampling.top_k is None  # not allowed

    def test_file_leaves_its_name(self) -> None:
        content = [{"type": "text", "text": "See "}, {"type": "file", "fileIdentifier": "17 - tide.png"}]
        found = chat({"versions": [{"type": "singleStep", "role": "user", "content": content}]})
        assert found.messages[0].text == "See [file that was not imported: 17 - tide.png]\n"


class TestAnyContent:
    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "not JSON"), (b"[]", "no list of messages"), (b'{"messages": 3}', "no list of messages"),
            (b"\xff\xfe{", "not JSON"), (b"[" * 200_000, "nested too deeply"),
            (b'{"messages": [' + b"9" * 5000 + b"]}", "not JSON"),
        ],
    )  # fmt: skip
    def test_file_that_is_no_chat_is_refused(self, content: bytes, reason: str) -> None:
        with pytest.raises(ValueError, match=reason):
            chat_of(content, NAME)

    def test_half_characters_become_text(self) -> None:
        found = chat_of(b'{"name": "\\ud83d", "messages": []}', "\ud83d" + NAME)
        assert found.title and found.title.encode() and found.origin.encode()

    def test_long_texts_and_many_messages_are_bounded(self) -> None:
        found = chat(*[user("x")] * 12_000, name="t" * 5000)
        assert len(found.messages) == 10_000 and len(found.title) == 200
        assert len(chat(user("y" * 5_000_000)).messages[0].text) == 4 * 1024 * 1024

    @settings(max_examples=150, deadline=None)
    @given(messages=lists(VALUES, max_size=4), rest=dictionaries(TOP, VALUES))
    def test_any_values_become_a_chat_that_the_daemon_accepts(self, messages: list[Any], rest: dict[str, Any]) -> None:
        found = chat_of(json.dumps({"messages": messages, **rest}).encode(), NAME)
        body = msgspec.json.encode(ChatImport(chats=(found,)))
        (again,) = msgspec.json.decode(body, type=ChatImport).chats
        names = [message.id for message in again.messages]
        assert len(set(names)) == len(names)
        assert all(each.parent is None or each.parent in names[:place] for place, each in enumerate(again.messages))

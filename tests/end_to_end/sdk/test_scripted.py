"""Whole answers of scripted models over HTTP, with the unmodified OpenAI SDK: texts, log-probabilities, tool calls."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from openai import OpenAI

from tests.end_to_end.running import Daemon
from tests.families import CALL_MARKERS, FAMILIES, PARIS, TOOLS
from tests.models import TEMPLATE, cached_snapshot
from tests.scripted import Decoder, Script, build_scripted

DECODERS: tuple[Decoder, ...] = ("byte", "metaspace-stripped")
SCRIPT = Script([" One", " two", b"\xf0\x9f", b"\x98\x80", " \u00fc", "\n", "x"])
HALF = '<tool_call>{"name": "f\\ud83d", "arguments": {"a": "\\ud83d"}}</tool_call>'
TEXT = " One two😀 ü\nx"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAI]:
    root = tmp_path_factory.mktemp("scripted")
    for decoder in DECODERS:
        build_scripted(cached_snapshot(root, f"tests/{decoder}"), SCRIPT, decoder=decoder)
    for family in FAMILIES:
        if family.label in ("mistral", "kimi_k2"):
            family.build(cached_snapshot(root, f"tests/{family.label}"))
    mark = TEMPLATE + "{#- <tool_call> tool_call.name -#}"
    build_scripted(cached_snapshot(root, "tests/half"), HALF, special=CALL_MARKERS, template=mark)
    daemon = Daemon(environment={"HF_HUB_CACHE": str(root)}).start()
    with OpenAI(base_url=f"{daemon.address}/v1", api_key="lmx", max_retries=0, timeout=120) as client:
        yield client
    assert daemon.stop() == 0


def ask(client: OpenAI, model: str, words: str, **fields: Any) -> Any:
    messages = [{"role": "user", "content": words}]
    return client.chat.completions.create(model=f"tests/{model}", messages=messages, **fields)


@pytest.mark.parametrize("decoder", DECODERS)
class TestCompletions:
    def test_the_first_space_is_kept_and_offsets_are_those_of_the_text(self, client: OpenAI, decoder: str) -> None:
        asked: dict[str, Any] = {"model": f"tests/{decoder}", "prompt": "Say", "logprobs": 2, "max_tokens": 50}
        choice = client.completions.create(**asked).choices[0]
        assert choice.text == TEXT
        tokens, offsets = choice.logprobs.tokens, choice.logprobs.text_offset
        for token, offset in zip(tokens, offsets, strict=True):
            assert token.startswith("bytes:") or TEXT[offset:].startswith(token)
        assert [offset for token, offset in zip(tokens, offsets, strict=True) if token.startswith("bytes:")] == [
            TEXT.index("😀")
        ] * (2 if decoder == "byte" else 4)
        chunks = [chunk.choices[0] for chunk in client.completions.create(**asked, stream=True)]
        assert "".join(chunk.text for chunk in chunks) == TEXT
        assert [offset for chunk in chunks if chunk.logprobs for offset in chunk.logprobs.text_offset] == offsets

    def test_the_bytes_of_log_probabilities_are_those_of_the_answer(self, client: OpenAI, decoder: str) -> None:
        found = ask(client, decoder, "hi", logprobs=True, top_logprobs=2).choices[0]
        entries = found.logprobs.content
        assert bytes(byte for entry in entries for byte in entry.bytes).decode() == TEXT
        assert entries[0].token == " One" and found.message.content == TEXT.strip()
        assert all(entry.top_logprobs[0].bytes == entry.bytes for entry in entries)


class TestCalls:
    def test_a_call_without_an_end_marker(self, client: OpenAI) -> None:
        answer = ask(client, "mistral", "caseone", tools=TOOLS).choices[0]
        (call,) = answer.message.tool_calls
        assert answer.finish_reason == "tool_calls" and not answer.message.content
        assert (call.function.name, json.loads(call.function.arguments)) == PARIS

    def test_ids_of_the_model_are_returned_and_accepted(self, client: OpenAI) -> None:
        calls = ask(client, "kimi_k2", "casetwo", tools=TOOLS).choices[0].message.tool_calls
        assert [call.id for call in calls] == ["functions.get_weather:0", "functions.add:1"]
        messages: list[Any] = [
            {"role": "user", "content": "casetwo"},
            {"role": "assistant", "tool_calls": [call.model_dump() for call in calls]},
            *({"role": "tool", "tool_call_id": call.id, "content": "casearound"} for call in calls),
        ]
        answer = client.chat.completions.create(model="tests/kimi_k2", messages=messages, tools=TOOLS).choices[0]
        assert answer.message.content == "Before.\nAfter." and len(answer.message.tool_calls or []) == 2

    @pytest.mark.parametrize("model", ["mistral", "kimi_k2"])
    def test_one_call_where_parallel_calls_are_off(self, client: OpenAI, model: str) -> None:
        whole = ask(client, model, "casetwo", tools=TOOLS, parallel_tool_calls=False)
        both = ask(client, model, "casetwo", tools=TOOLS)
        assert whole.choices[0].finish_reason == "tool_calls" and len(whole.choices[0].message.tool_calls) == 1
        if model == "mistral":  # a second marker ends it before the rest is generated
            assert whole.usage.completion_tokens < both.usage.completion_tokens

    def test_the_old_form_of_tools_is_answered_in_the_old_form(self, client: OpenAI) -> None:
        functions = [tool["function"] for tool in TOOLS]
        choice = ask(client, "mistral", "casetwo", functions=functions).choices[0]
        call = choice.message.function_call
        assert choice.finish_reason == "function_call" and choice.message.tool_calls is None
        assert (call.name, json.loads(call.arguments)) == PARIS
        name, arguments, reasons = "", "", set()
        for chunk in ask(client, "mistral", "casetwo", functions=functions, stream=True):
            (choice,) = chunk.choices
            reasons.add(choice.finish_reason)
            if piece := choice.delta.function_call:
                name, arguments = name + (piece.name or ""), arguments + (piece.arguments or "")
        assert (name, json.loads(arguments)) == PARIS and reasons == {None, "function_call"}
        messages: list[Any] = [
            {"role": "user", "content": "caseone"},
            {"role": "assistant", "content": None, "function_call": {"name": name, "arguments": arguments}},
            {"role": "function", "name": name, "content": "casenone"},
        ]
        answer = client.chat.completions.create(model="tests/mistral", messages=messages, functions=functions)
        assert answer.choices[0].message.content == "No call." and answer.choices[0].finish_reason == "stop"

    def test_a_call_that_the_limit_of_tokens_cuts_is_not_shown(self, client: OpenAI) -> None:
        for most in (4, 8, 12):
            cut = ask(client, "kimi_k2", "casebefore", tools=TOOLS, max_tokens=most).choices[0]
            assert cut.finish_reason == "length" and not cut.message.tool_calls
            assert (cut.message.content or "").strip() == "I look."

    def test_half_a_character_in_a_call_is_replaced_also_in_the_next_turn(self, client: OpenAI) -> None:
        for stream in (False, True):
            answer = ask(client, "half", "hi", tools=TOOLS, stream=stream)
            pieces = [c.choices[0].delta for c in answer] if stream else [answer.choices[0].message]
            parts = [call.function for piece in pieces for call in piece.tool_calls or []]
            given = "".join(part.arguments or "" for part in parts)
            assert (parts[0].name, json.loads(given)) == ("f\ufffd", {"a": "\ufffd"})
        made = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": r'{"a": "\ud83d"}'}}
        messages: list[Any] = [
            {"role": "user", "content": "casenone"},
            {"role": "assistant", "tool_calls": [made]},
            {"role": "tool", "tool_call_id": "call_1", "content": "done"},
        ]
        for model in ("kimi_k2", "half"):
            found = client.chat.completions.create(model=f"tests/{model}", messages=messages, tools=TOOLS)
            assert found.choices[0].finish_reason in ("stop", "tool_calls")

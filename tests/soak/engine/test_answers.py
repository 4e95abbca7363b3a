"""Answers of every tool-call family: the real daemon, worker, tokenizer and template with the unmodified SDK."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from openai import OpenAI

from tests.end_to_end.running import Daemon
from tests.families import FAMILIES, TOOLS, Case, Family
from tests.models import cached_snapshot

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAI]:
    root = tmp_path_factory.mktemp("families")
    for family in FAMILIES:
        family.build(cached_snapshot(root, f"tests/{family.label}"))
    daemon = Daemon(environment={"HF_HUB_CACHE": str(root)}).start()
    with OpenAI(base_url=f"{daemon.address}/v1", api_key="lmx", max_retries=0, timeout=120) as client:
        yield client
    assert daemon.stop() == 0


def ask(client: OpenAI, family: Family, case: str, **fields: Any) -> Any:
    messages = [{"role": "user", "content": f"Please {case}."}]
    return client.chat.completions.create(model=f"tests/{family.label}", messages=messages, **fields)


def parts_of(message: Any) -> tuple[str, str, list[Any]]:
    """Return content, reasoning and calls of a whole message."""
    calls = [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or []]
    return message.content or "", (message.model_extra or {}).get("reasoning_content", ""), calls


def streamed(chunks: Any) -> tuple[tuple[str, str, list[Any]], str | None]:
    """Return content, reasoning and calls of all chunks, and the finish reason."""
    content, reasoning, reason = "", "", None
    calls: list[dict[str, str]] = []
    for chunk in chunks:
        (choice,) = chunk.choices
        content += choice.delta.content or ""
        reasoning += (choice.delta.model_extra or {}).get("reasoning_content") or ""
        reason = choice.finish_reason or reason
        for piece in choice.delta.tool_calls or []:
            if piece.index == len(calls):
                assert piece.id and piece.function.name and piece.type == "function"
                calls.append({"id": piece.id, "name": piece.function.name, "arguments": ""})
            calls[piece.index]["arguments"] += piece.function.arguments or ""
    assert len({call["id"] for call in calls}) == len(calls)
    return (content, reasoning, [(call["name"], json.loads(call["arguments"])) for call in calls]), reason


def expected(case: Case) -> tuple[str, str, list[Any]]:
    return case.content, case.reasoning, list(case.calls)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.label)
def test_answers_of_each_family_are_parsed_whole_and_streamed(family: Family, client: OpenAI) -> None:
    for name, case in family.cases().items():
        ended = "tool_calls" if case.calls else "stop"
        whole = ask(client, family, name, tools=TOOLS).choices[0]
        assert (parts_of(whole.message), whole.finish_reason) == (expected(case), ended), name
        assert streamed(ask(client, family, name, tools=TOOLS, stream=True)) == (expected(case), ended), name
    with_ids = ask(client, family, "casetwo", tools=TOOLS).choices[0].message.tool_calls
    assert len({call.id for call in with_ids}) == 2
    if family.name == "kimi_k2":
        assert [call.id for call in with_ids] == ["functions.get_weather:0", "functions.add:1"]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.label)
def test_answers_have_one_call_without_parallel_calls(family: Family, client: OpenAI) -> None:
    case = family.cases()["casetwo"]
    whole = ask(client, family, "casetwo", tools=TOOLS, parallel_tool_calls=False).choices[0]
    assert (parts_of(whole.message), whole.finish_reason) == (("", "", [case.calls[0]]), "tool_calls")
    chunks = ask(client, family, "casetwo", tools=TOOLS, parallel_tool_calls=False, stream=True)
    assert streamed(chunks) == (("", "", [case.calls[0]]), "tool_calls")


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.label)
def test_answers_cut_by_the_token_limit_hold_the_beginning_of_a_call(family: Family, client: OpenAI) -> None:
    """Cut at every third token. A call that is cut has the beginning of its arguments; no marker is in the content."""
    case = family.cases()["casebefore"]
    uncut = ask(client, family, "casebefore", tools=TOOLS)
    (call,) = uncut.choices[0].message.tool_calls
    for most in range(1, uncut.usage.completion_tokens - 1, 3):
        whole = ask(client, family, "casebefore", tools=TOOLS, max_tokens=most).choices[0]
        content = whole.message.content or ""
        for begun in whole.message.tool_calls or []:
            assert begun.function.name == call.function.name
            assert call.function.arguments.startswith(begun.function.arguments), most
        assert whole.finish_reason == "length" and len(whole.message.tool_calls or []) <= 1
        assert case.content.startswith(content.rstrip()), (most, content)

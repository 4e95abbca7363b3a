"""Requests of the shapes that opencode and aider send to the chat route, over the turns of one session each.

The shapes are those of recorded requests; the words are our own.
"""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.agent_model import AGENT, build_agent_model, call
from tests.end_to_end.running import Daemon

SCRIPTS = {
    "": "A file is made",
    "casestart": call("bash", '{"command": "echo hi > made.txt", "description": "Makes a file"}'),
    "casemade": call("read", '{"filePath": "made.txt"}') + "\n" + call("glob", '{"pattern": "*.txt"}'),
    "caseread": "The file is there.",
    "caseedit": "made.txt\n```\nwrong\n```\n",
    "casewrong": "made.txt\n```\nright\n```\n",
}
HEADERS = {
    "authorization": "Bearer lmx",
    "user-agent": "opencode/1.18.33 ai-sdk/provider-utils/4.0.23 runtime/bun/1.3.14",
    "x-session-id": "ses_1",
}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    root = tmp_path_factory.mktemp("chat-agents")
    build_agent_model(root, SCRIPTS)
    running = Daemon(environment={"HF_HUB_CACHE": str(root)}, config="[engine]\nwarm_spare = false\n").start()
    yield running
    assert running.stop() == 0


def tool(name: str, *fields: str) -> dict[str, Any]:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "timeout": {"minimum": -(2**53) + 1, "exclusiveMinimum": 0, "type": "integer", "maximum": 2**53 - 1},
            **{each: {"type": "string", "description": f"The {each} to use"} for each in fields},
        },
        "required": list(fields),
    }
    function = {"name": name, "description": f"Runs {name} and returns what it prints. " * 4, "parameters": schema}
    return {"type": "function", "function": function}


TOOLS = [tool("bash", "command", "description"), tool("read", "filePath"), tool("glob", "pattern")] + [
    tool(f"other{number}", "first", "second") for number in range(7)
]


def send(daemon: Daemon, messages: list[dict[str, Any]], **fields: Any) -> tuple[dict[str, Any], dict[str, int]]:
    """Return the message that the chunks of a streamed answer add up to, and its prompt and cached tokens."""
    body = {"model": AGENT, "messages": messages, "stream": True, "stream_options": {"include_usage": True}} | fields
    url = f"{daemon.address}/v1/chat/completions"
    message: dict[str, Any] = {"role": "assistant", "content": "", "tool_calls": []}
    usage: dict[str, Any] = {}
    with httpx2.stream("POST", url, json=body, headers=HEADERS, timeout=120) as response:
        assert response.status_code == 200, response.read()
        for line in response.iter_lines():
            if line.startswith("data: {"):
                chunk = json.loads(line.removeprefix("data: "))
                usage = chunk.get("usage") or usage
                for choice in chunk["choices"]:
                    add(message, choice["delta"])
    return message, {"prompt": usage["prompt_tokens"], "cached": usage["prompt_tokens_details"]["cached_tokens"]}


def add(message: dict[str, Any], delta: dict[str, Any]) -> None:
    """Add a delta to the message, as the AI SDK does: a call begins with its id and its name."""
    message["content"] += delta.get("content") or ""
    for piece in delta.get("tool_calls") or []:
        if piece["index"] == len(message["tool_calls"]):
            made = {
                "id": piece["id"],
                "type": "function",
                "function": {"name": piece["function"]["name"], "arguments": ""},
            }
            message["tool_calls"].append(made)
        message["tool_calls"][piece["index"]]["function"]["arguments"] += piece["function"].get("arguments") or ""


def result(given: dict[str, Any], text: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": given["id"], "content": text}


def test_each_turn_of_opencode_reuses_the_turn_before_although_a_title_is_made_between(daemon: Daemon) -> None:
    messages = [
        {"role": "system", "content": "You are an agent that works in a terminal. " * 60},
        {"role": "user", "content": "Make a file: casestart"},
    ]
    title = [
        {"role": "system", "content": "You write titles of at most 50 characters. " * 30},
        {"role": "user", "content": "Generate a title for this conversation:\n"},
        {"role": "user", "content": '"Make a file"'},
    ]
    fields: dict[str, Any] = {"tools": TOOLS, "tool_choice": "auto", "max_tokens": 4000}
    first, usage = send(daemon, messages, **fields)
    named, _ = send(daemon, title, max_tokens=1000)
    assert named["content"] == "A file is made" and not named["tool_calls"]
    (bash,) = first["tool_calls"]
    assert json.loads(bash["function"]["arguments"])["command"] == "echo hi > made.txt"
    messages += [first, result(bash, "(no output) casemade")]
    second, later = send(daemon, messages, **fields)
    assert [each["function"]["name"] for each in second["tool_calls"]] == ["read", "glob"]
    assert later["cached"] >= usage["prompt"]
    messages += [second, *(result(each, "hi caseread") for each in second["tool_calls"])]
    third, last = send(daemon, messages, **fields)
    assert third["content"] == "The file is there." and last["cached"] >= later["prompt"]


def test_answer_of_aider_reuses_all_before_the_file_that_it_changed(daemon: Daemon) -> None:
    def conversation(content: str, *turns: dict[str, str]) -> list[dict[str, str]]:
        return [
            {"role": "system", "content": "Act as an expert developer. Return each changed file whole. " * 20},
            {"role": "user", "content": "Change the greeting to be more casual"},
            {"role": "assistant", "content": "Ok, I return the file:\n\nshow_greeting.py\n```\nprint('Hey')\n```\n"},
            {"role": "user", "content": f"I have *added these files to the chat*:\n\nmade.txt\n```\n{content}\n```\n"},
            {"role": "assistant", "content": "Ok, any changes I propose will be to those files."},
            *turns,
        ]

    asked = {"role": "user", "content": "Write the file: caseedit\n\nReturn each changed file whole."}
    first, usage = send(daemon, conversation("", asked), temperature=0)
    assert first["content"] == "made.txt\n```\nwrong\n```\n"
    failed = {"role": "user", "content": "The tests failed: casewrong"}
    said = {"role": "assistant", "content": first["content"]}
    second, later = send(daemon, conversation("wrong", asked, said, failed), temperature=0)
    assert second["content"] == "made.txt\n```\nright\n```\n"
    before = len("Act as an expert developer. Return each changed file whole. " * 20)
    assert before < later["cached"] < usage["prompt"] < later["prompt"]

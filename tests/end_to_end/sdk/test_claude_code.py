"""Requests of the shape that Claude Code sends, over the turns of one session: each turn reuses the one before it.

The shapes are those of recorded requests; the words are our own. What changes from one request to the next without
being new text (attribution, places of cache_control) is in them as well.
"""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.agent_model import AGENT, build_agent_model, call
from tests.end_to_end.running import Daemon

EPHEMERAL = {"cache_control": {"type": "ephemeral"}}
SCRIPTS = {
    "": "Nothing to do.",
    "casestart": "<think>A file is to be made.</think>I make it.\n" + call("Bash", '{"command": "echo hi > made.txt"}'),
    "casemade": call("Read", '{"file_path": "made.txt"}') + "\n" + call("Glob", '{"pattern": "*.txt"}'),
    "caseread": "The file is there.",
    "caseagain": "It says hi.",
}
HEADERS = {
    "authorization": "Bearer lmx",
    "anthropic-version": "2023-06-01",
    "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14",
    "user-agent": "claude-cli/2.1.197 (external, sdk-cli)",
    "x-app": "cli",
    "x-claude-code-session-id": "6a3e5c1e-0000-4000-8000-000000000001",
}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    root = tmp_path_factory.mktemp("scripted")
    build_agent_model(root, SCRIPTS)
    running = Daemon(environment={"HF_HUB_CACHE": str(root)}, config="[engine]\nwarm_spare = false\n").start()
    yield running
    assert running.stop() == 0


def tool(name: str, *arguments: str) -> dict[str, Any]:
    properties = {argument: {"type": "string", "description": f"The {argument} to use"} for argument in arguments}
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": properties,
        "required": list(arguments),
        "additionalProperties": False,
    }
    return {"name": name, "description": f"Runs {name} and returns what it prints. " * 4, "input_schema": schema}


TOOLS = [
    tool("Bash", "command"),
    tool("Read", "file_path"),
    tool("Glob", "pattern"),
    *(tool(f"Other{number}", "first", "second") for number in range(12)),
    {"type": "web_search_20250305", "name": "web_search", "max_uses": 8},
]


def body_of(messages: list[dict[str, Any]], request: int, **fields: Any) -> dict[str, Any]:
    """Return the body of the request with the number `request`. Its last text has the marker of the cache."""
    return {
        "model": AGENT,
        "system": [
            {"type": "text", "text": f"x-anthropic-billing-header: cc_version=2.1.197.{request}; cch={request:05x};"},
            {"type": "text", "text": "You are an agent that works in a terminal.", **EPHEMERAL},
            {"type": "text", "text": "\nYou edit files and run commands for the user. " * 30, **EPHEMERAL},
        ],
        "tools": TOOLS,
        "messages": marked(messages),
        "metadata": {"user_id": json.dumps({"device_id": "d" * 64, "account_uuid": "", "session_id": "s" * 36})},
        "max_tokens": 32_000,
        "thinking": {"type": "adaptive"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "output_config": {"effort": "high"},
        "stream": True,
        **fields,
    }


def marked(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the messages with `cache_control` at the last block of the last message of the user."""
    last = max(position for position, message in enumerate(messages) if message["role"] == "user")
    *blocks, block = messages[last]["content"]
    return [*messages[:last], {"role": "user", "content": [*blocks, block | EPHEMERAL]}, *messages[last + 1 :]]


class Session:
    """Session of the agent: its conversation so far, and the counts of its last request."""

    def __init__(self, daemon: Daemon) -> None:
        self._address = daemon.address
        self._requests = 0
        self.messages: list[dict[str, Any]] = []
        self.prompt = 0
        """Number of tokens of the last prompt."""
        self.cached = 0

    def turn(self, *messages: dict[str, Any]) -> list[dict[str, Any]]:
        """Send the conversation with `messages` added, and add the answer. Return its blocks."""
        self.messages += messages
        self._requests += 1
        message = self.send(body_of(self.messages, self._requests))
        usage = message["usage"]
        self.cached = usage["cache_read_input_tokens"]
        self.prompt = self.cached + usage["input_tokens"] + usage["cache_creation_input_tokens"]
        self.messages.append({"role": "assistant", "content": message["content"]})
        return list(message["content"])

    def send(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the message that the events of the answer add up to."""
        url = f"{self._address}/v1/messages?beta=true"
        found: dict[str, Any] = {}
        with httpx2.stream("POST", url, json=body, headers=HEADERS, timeout=120) as response:
            assert response.status_code == 200, response.read()
            for line in response.iter_lines():
                if line.startswith("data: "):
                    add(found, json.loads(line.removeprefix("data: ")))
        return found


def add(message: dict[str, Any], event: dict[str, Any]) -> None:
    """Add one event of a stream to the message."""
    match event["type"]:
        case "message_start":
            message |= event["message"]
        case "content_block_start":
            message["content"].append(event["content_block"] | {"json": ""})
        case "content_block_delta":
            delta, block = event["delta"], message["content"][event["index"]]
            kind = delta["type"].removesuffix("_delta")
            name = {"input_json": "json"}.get(kind, kind)
            block[name] += delta[kind if kind != "input_json" else "partial_json"]
        case "content_block_stop":
            block = message["content"][event["index"]]
            text = block.pop("json")
            if block["type"] == "tool_use":
                block["input"] = json.loads(text)
        case "message_delta":
            message |= event["delta"] | {"usage": event["usage"]}


def user(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "text": content}


def result(use: dict[str, Any], content: Any, *, is_error: bool = False) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": use["id"], "content": content, "is_error": is_error}


def left(tokens: int) -> str:
    return f"<total_tokens>{tokens} tokens left</total_tokens>"


def system(content: Any) -> dict[str, Any]:
    return {"role": "system", "content": content}


def test_each_turn_of_a_session_reuses_the_prompt_of_the_turn_before(daemon: Daemon) -> None:
    session = Session(daemon)
    thinking, said, use = session.turn(
        user(text("<system-reminder>\nToday is a Monday.\n</system-reminder>"), text("Please make a file: casestart")),
        system("Agents that can be started: none. " * 20),
    )
    assert thinking["thinking"] == "A file is to be made." and said["text"] == "I make it."
    assert (use["name"], use["input"]) == ("Bash", {"command": "echo hi > made.txt"})
    turns = [
        lambda: (
            user(result(use, "(Bash printed nothing) casemade")),
            system(left(9000)),
        ),
        lambda: (
            user(
                result(session.messages[-1]["content"][0], [text("1\thi caseread")]),
                result(session.messages[-1]["content"][1], "made.txt", is_error=True),
            ),
            system([{**text(left(8000)), **EPHEMERAL}]),
            system([]),
        ),
        lambda: (user(text("And what does it say? caseagain")),),
    ]
    answers = []
    for turn in turns:
        before = session.prompt
        answers.append(session.turn(*turn()))
        assert session.cached >= before, "the prompt of the turn before is reused to its last token"
        assert session.prompt - session.cached < 250, "only new text is computed"
    assert [block.get("name", block.get("text")) for blocks in answers for block in blocks] == [
        "Read",
        "Glob",
        "The file is there.",
        "It says hi.",
    ]


def test_request_that_is_not_streamed_shares_the_prompt(daemon: Daemon) -> None:
    session = Session(daemon)
    session.turn(user(text("hello")))
    body = body_of([user(text("hello"))], 99, stream=False)
    answer = httpx2.post(f"{daemon.address}/v1/messages?beta=true", json=body, headers=HEADERS, timeout=120)
    assert answer.json()["usage"]["cache_read_input_tokens"] >= session.prompt - 1
    assert answer.headers["x-lmx-ignored"] == "tools[15] (web_search_20250305)"


def test_probes_of_the_start_are_answered(daemon: Daemon) -> None:
    for path in ("/", "/api/hello"):
        answer = httpx2.head(daemon.address + path, headers={"user-agent": "Bun/1.4.0"})
        assert answer.status_code == 200 and answer.content == b""


def test_count_of_tokens_is_that_of_the_prompt(daemon: Daemon) -> None:
    session = Session(daemon)
    session.turn(user(text("count me")))
    body = body_of([user(text("count me"))], 7)
    kept = {name: body[name] for name in ("model", "system", "tools", "messages", "thinking", "output_config")}
    url = f"{daemon.address}/v1/messages/count_tokens?beta=true"
    assert httpx2.post(url, json=kept, headers=HEADERS).json() == {"input_tokens": session.prompt}

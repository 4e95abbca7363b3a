"""Requests in the manner of Codex: each turn sends the whole history, and computes its new text only."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.agent_model import AGENT, build_agent_model, call
from tests.end_to_end.running import Daemon

PATCH = "*** Begin Patch\n*** Add File: b.txt\n+hello\n*** End Patch"
SCRIPTS = {
    "": call("exec_command", '{"cmd": "echo hi > a.txt"}'),
    "exited": call("apply_patch", json.dumps({"input": PATCH})),
    "patched": call("send", '{"to": "me"}'),
    "sent": "All is done.",
}
HEADERS = {"originator": "codex_exec", "user-agent": "codex_exec/0.171.0", "session-id": "s", "thread-id": "s"}


def function(name: str, *fields: str) -> dict[str, Any]:
    properties = {field: {"type": "string", "description": f"The {field} of {name}"} for field in fields}
    schema = {"type": "object", "properties": properties, "required": list(fields), "additionalProperties": False}
    return {
        "type": "function",
        "name": name,
        "description": f"Does {name}. " * 5,
        "strict": False,
        "parameters": schema,
    }


TOOLS = [
    function("exec_command", "cmd"),
    {
        "type": "custom",
        "name": "apply_patch",
        "description": "Changes files by a patch.",
        "format": {"type": "grammar", "syntax": "lark", "definition": 'start: "*** Begin Patch" /(.|\\n)+/'},
    },
    {"type": "namespace", "name": "mail", "description": "Mail", "tools": [function("send", "to")]},
    *(function(f"other_{number}", "first", "second") for number in range(8)),
    {"type": "web_search", "external_web_access": False},
]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    cache = tmp_path_factory.mktemp("codex")
    build_agent_model(cache, SCRIPTS, max_position_embeddings=65_536)
    running = Daemon(environment={"HF_HUB_CACHE": str(cache)}).start()
    yield running
    assert running.stop() == 0


def message(role: str, text: str) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": [{"type": "input_text", "text": text}]}


def turn(daemon: Daemon, items: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Send the history, add the output to it, and return the last output item and the usage."""
    body = {
        "model": AGENT,
        "input": items,
        "tools": TOOLS,
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "reasoning": {"summary": "auto"},
        "store": False,
        "stream": True,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "s",
        "client_metadata": {"turn_id": "t"},
    }
    events = []
    url = f"{daemon.address}/v1/responses"
    with httpx2.stream("POST", url, json=body, headers=HEADERS, timeout=120) as response:
        assert response.status_code == 200, response.read()
        assert "web_search" in response.headers["x-lmx-ignored"]
        events = [json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: ")]
    assert events[-1]["type"] == "response.completed"
    items += [event["item"] for event in events if event["type"] == "response.output_item.done"]
    return items[-1], events[-1]["response"]["usage"]


def test_each_turn_leads_back_to_its_tool_and_reuses_the_turn_before(daemon: Daemon) -> None:
    items = [
        message("developer", "You work in a terminal. " * 60),
        message("developer", "Skills: none. " * 20),
        message("user", "<environment_context>\n  <cwd>/work</cwd>\n</environment_context>"),
        message("user", "Make two files"),
    ]
    called, usage = turn(daemon, items)
    assert called["type"] == "function_call" and json.loads(called["arguments"]) == {"cmd": "echo hi > a.txt"}
    sizes = [usage["input_tokens"]]
    for text, kind in (("The process exited with 0", "custom_tool_call"), ("It is patched", "function_call")):
        output = {"type": f"{called['type']}_output", "call_id": called["call_id"], "output": text}
        called, usage = turn(daemon, extended(items, output))
        assert called["type"] == kind
        assert usage["input_tokens_details"]["cached_tokens"] >= sizes[-1]
        sizes.append(usage["input_tokens"])
    assert called["name"] == "send" and called["namespace"] == "mail"
    patch = next(item for item in items if item["type"] == "custom_tool_call")
    assert patch["name"] == "apply_patch" and patch["input"] == PATCH
    output = {
        "type": "function_call_output",
        "call_id": called["call_id"],
        "output": [{"type": "input_text", "text": "sent"}],
    }
    said, usage = turn(daemon, extended(items, output))
    assert said["content"][0]["text"] == "All is done." and usage["input_tokens_details"]["cached_tokens"] >= sizes[-1]


def extended(items: list[dict[str, Any]], *more: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the same list with `more` at its end."""
    items += more
    return items

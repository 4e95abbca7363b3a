"""Bodies and events of the Responses routes against the types of the `openai` package, and OpenAI's own schema."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import jsonschema
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from tests.agent_model import AGENT, build_agent_model, call
from tests.end_to_end.running import Daemon
from tests.openai_types import unknown_fields

DOCUMENT = Path(__file__).parents[4] / "shared" / "openai" / "openapi.json"
EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
SCRIPTS = {
    "": "Hello there.",
    "casethink": "<think>Two and two.</think>It is four.",
    "casejson": '{"city": "Paris"}',
    "caseweather": "I look.\n" + call("get_weather", '{"city": "Paris"}') + call("send", '{"to": "me"}'),
    "casepatch": call("apply_patch", '{"input": "*** Begin Patch"}'),
}
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS: list[dict[str, Any]] = [
    {"type": "function", "name": "get_weather", "parameters": SCHEMA, "strict": False},
    {"type": "custom", "name": "apply_patch", "description": "Changes files"},
    {
        "type": "namespace",
        "name": "mail",
        "description": "Mail",
        "tools": [{"type": "function", "name": "send", "parameters": {"type": "object", "properties": {}}}],
    },
]
CASES: dict[str, dict[str, Any]] = {
    "text": {"input": "hi", "instructions": "Be kind.", "metadata": {"a": "b"}, "temperature": 0.5, "top_p": 0.9},
    "logprobs": {"input": "hi", "include": ["message.output_text.logprobs"], "top_logprobs": 2},
    "reasoning": {"input": "casethink", "reasoning": {"effort": "low"}, "include": ["reasoning.encrypted_content"]},
    "summary": {"input": "casethink", "reasoning": {"effort": "low", "summary": "auto"}},
    "schema": {
        "input": "casejson",
        "text": {"format": {"type": "json_schema", "name": "city", "schema": SCHEMA, "strict": True}},
    },
    "calls": {"input": "caseweather", "tools": TOOLS, "parallel_tool_calls": True},
    "custom": {"input": "casepatch", "tools": TOOLS, "tool_choice": "auto"},
    "limit": {"input": "hi", "max_output_tokens": 2},
    "continued": {"input": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Yes?"}]},
}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    root = tmp_path_factory.mktemp("responses")
    build_agent_model(root, SCRIPTS)
    running = Daemon(environment={"HF_HUB_CACHE": str(root)}, config="[engine]\nwarm_spare = false\n").start()
    yield running
    assert running.stop() == 0


def answers(daemon: Daemon, case: str) -> tuple[bytes, list[str]]:
    """Return the whole answer to a case, and the data of each event of the streamed one."""
    url, body = f"{daemon.address}/v1/responses", {"model": AGENT} | CASES[case]
    whole = httpx2.post(url, json=body, timeout=60)
    streamed = httpx2.post(url, json=body | {"stream": True}, timeout=60)
    assert whole.status_code == streamed.status_code == 200, whole.text
    lines = [line[6:] for line in streamed.text.splitlines() if line.startswith("data: ")]
    return whole.content, lines


@pytest.mark.parametrize("case", CASES)
def test_answers_have_the_types_of_the_sdk_and_no_other_fields(daemon: Daemon, case: str) -> None:
    whole, events = answers(daemon, case)
    answer = Response.model_validate_json(whole, strict=True)
    assert list(unknown_fields(answer)) == []
    assert answer.status == ("incomplete" if case == "limit" else "completed")
    for number, event in enumerate(events):
        found = EVENTS.validate_json(event, strict=True)
        assert list(unknown_fields(found)) == [], event
        assert found.type == json.loads(event)["type"] and found.sequence_number == number
    last = EVENTS.validate_json(events[-1]).response
    assert [item.type for item in last.output] == [item.type for item in answer.output]


@pytest.mark.skipif(not DOCUMENT.exists(), reason="needs the recorded files in ../shared")
@pytest.mark.parametrize("case", CASES)
def test_answers_match_the_schema_that_openai_publishes(daemon: Daemon, case: str) -> None:
    components = json.loads(DOCUMENT.read_text())["components"]

    def check(name: str, value: Any) -> None:
        schema = {"$ref": f"#/components/schemas/{name}", "components": components}
        jsonschema.Draft202012Validator(schema).validate(value)

    whole, events = answers(daemon, case)
    check("Response", json.loads(whole))
    for event in map(json.loads, events):
        check("ResponseStreamEvent", event)

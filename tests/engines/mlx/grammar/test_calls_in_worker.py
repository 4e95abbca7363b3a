"""Demanded calls and headers of messages in a real worker, by models with random weights."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from mlx_lm.utils import load_tokenizer

from lmx_daemon.contract.generation.constraint import JsonSchema
from lmx_daemon.contract.generation.events import Finished
from lmx_daemon.contract.generation.requests import Chat, Generate, Message, TextPart, Tool, ToolChoice
from lmx_daemon.contract.worker.messages import Loaded
from lmx_daemon.engines.mlx.text.families.choose import family_of
from tests.engines.mlx.worker_process import WorkerProcess, sampled
from tests.models import build_model

TEMPLATES = Path(__file__).parents[3] / "templates"
HARMONY = ("<|start|>", "<|channel|>", "<|message|>", "<|constrain|>", "<|end|>", "<|call|>", "<|return|>")
DEEPSEEK = tuple(
    f"<｜{name}｜>"
    for name in (
        "tool▁calls▁begin",
        "tool▁calls▁end",
        "tool▁call▁begin",
        "tool▁call▁end",
        "tool▁sep",
        "User",
        "Assistant",
    )
)
FAMILIES = {
    "gpt-oss": HARMONY,
    "deepseek-v3.1": (*DEEPSEEK, "<think>", "</think>"),
    "minimax-m2": ("<minimax:tool_call>", "</minimax:tool_call>", "<think>", "</think>"),
    "qwen3-coder": ("<tool_call>", "</tool_call>"),
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"n": {"type": "integer"}, "ratio": {"type": "number"}, "unit": {"enum": ["m", "kg"]}},
    "required": ["n", "ratio", "unit"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module", params=FAMILIES)
def worker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    """Run a worker whose model has the template and the tokens of a family."""
    template = (TEMPLATES / f"{request.param}.jinja").read_text()
    folder = tmp_path_factory.mktemp("model")
    build_model("llama", folder, special=FAMILIES[request.param], template=template)
    with WorkerProcess() as running:
        assert isinstance(running.load(folder), Loaded)
        yield running


def ask(worker: WorkerProcess, seed: int, chat: dict[str, Any], **fields: Any) -> Generate:
    message = Message(role="user", content=(TextPart(text="hello"),))
    sampling = sampled(temperature=1.0, seed=seed)
    prompt = Chat(messages=(message,), **chat)
    fields = {"max_tokens": 900, "sampling": sampling} | fields
    return Generate(id=worker.name(), model="m", prompt=prompt, **fields)


def test_a_demanded_call_is_made_and_follows_its_schema(worker: WorkerProcess) -> None:
    tools = (Tool(name="add", parameters=SCHEMA), Tool(name="stop", parameters={"type": "object", "properties": {}}))
    schemas = {tool.name: jsonschema.Draft202012Validator(tool.parameters) for tool in tools}
    named = {"tools": tools, "tool_choice": ToolChoice(mode="named", name="add"), "thinking": False}
    one = {"tools": tools, "tool_choice": ToolChoice(mode="required"), "parallel_tool_calls": False, "thinking": False}
    requests = [ask(worker, seed, named if seed % 2 else one, thinking_budget=20) for seed in range(6)]
    for request, end in zip(requests, worker.finish(*map(worker.submit, requests)), strict=True):
        assert isinstance(end, Finished), end
        assert end.reason == "tool_calls", worker.text(request.id)
        parts = [delta.tool_call for delta in worker.deltas(request.id) if delta.tool_call is not None]
        assert [part.index for part in parts] == [0] * len(parts)
        assert parts[0].name is not None
        schemas[parts[0].name].validate(json.loads("".join(part.arguments for part in parts)))


@pytest.mark.parametrize("worker", [name for name in FAMILIES if name != "gpt-oss"], indirect=True)
def test_a_strict_tool_is_called_by_its_schema_where_the_model_decides(worker: WorkerProcess) -> None:
    """A bias makes the model begin a call. Without the grammar, its text could not be read."""
    tokenizer = load_tokenizer(worker.loaded_from)
    start = next(envelope.start for envelope in family_of(tokenizer).envelopes if envelope.calls)
    (begin,) = tokenizer.encode(start, add_special_tokens=False)
    tools = (Tool(name="add", parameters=SCHEMA, strict=True),)
    asked = {"tools": tools, "parallel_tool_calls": False, "thinking": False}
    for seed in range(3):
        sampling = sampled(temperature=1.0, seed=seed, logit_bias={begin: 100.0})
        request = ask(worker, seed, asked, sampling=sampling)
        (end,) = worker.finish(worker.submit(request))
        assert isinstance(end, Finished) and end.reason == "tool_calls", end
        parts = [delta.tool_call for delta in worker.deltas(request.id) if delta.tool_call is not None]
        jsonschema.validate(json.loads("".join(part.arguments for part in parts)), SCHEMA)


def test_an_answer_by_a_schema_is_the_content(worker: WorkerProcess) -> None:
    constraint = JsonSchema(schema=SCHEMA)
    requests = [ask(worker, seed, {"thinking": False}, constraint=constraint, thinking_budget=20) for seed in range(4)]
    for request, end in zip(requests, worker.finish(*map(worker.submit, requests)), strict=True):
        assert isinstance(end, Finished), end
        assert end.reason == "stop" and end.usage.reasoning_tokens <= 20 + 3, "a character is completed"
        jsonschema.validate(json.loads(worker.text(request.id)), SCHEMA)

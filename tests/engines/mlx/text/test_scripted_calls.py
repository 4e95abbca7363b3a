"""The scripted models of the tests generate their scripts in a real worker."""

from pathlib import Path

import pytest

from lmx_daemon.contract.generation.events import Finished
from lmx_daemon.contract.generation.requests import Chat, Generate, Message, TextPart, Tool, ToolChoice
from lmx_daemon.contract.worker.messages import Loaded
from tests.engines.mlx.worker_process import WorkerProcess, sampled
from tests.models import TEMPLATE
from tests.scripted import Decoder, Script, build_scripted

LONG = "Hello, the the the world!\n\n  x = {1: 2} <|a|>ünï 日本語 🙂 <|a|> end"
PARTS = Script(["a", b"\xf0\x9f", b"\x98\x80", " b"])


def asked(worker: WorkerProcess, text: str, **fields: object) -> Generate:
    message = Message(role="user", content=(TextPart(text=text),))
    fields = {"max_tokens": 100} | fields
    return Generate(id=worker.name(), model="m", prompt=Chat(messages=(message,)), **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("decoder", ["byte", "metaspace", "metaspace-stripped"])
def test_a_scripted_model_generates_the_script_that_the_prompt_selects(decoder: Decoder, tmp_path: Path) -> None:
    scripts = {"": LONG, "second": PARTS, "endless": Script("la la ", ends=False)}
    with WorkerProcess() as worker:
        assert isinstance(worker.load(build_scripted(tmp_path, scripts, decoder=decoder, special=["<|a|>"])), Loaded)
        requests = [
            asked(worker, "hello " * 50),
            asked(worker, "hello", sampling=sampled(temperature=2.0, seed=1)),
            asked(worker, "and second " + "hello " * 50),
            asked(worker, "endless and second"),
        ]
        ends = worker.finish(*map(worker.submit, requests))
        texts = [worker.text(request.id) for request in requests]
        reasons = [end.reason for end in ends if isinstance(end, Finished)]
    assert texts[:3] == [LONG, LONG, "a😀 b"] and texts[3].startswith("la la la la la")
    assert reasons == ["stop", "stop", "stop", "length"]


def test_thinking_ends_at_its_budget_in_a_real_worker(tmp_path: Path) -> None:
    template = TEMPLATE.replace("<|im_start|>assistant\n", "<|im_start|>assistant\n<think>\n")
    model = build_scripted(tmp_path, "one two three four", special=["<think>", "</think>"], template=template)
    with WorkerProcess() as worker:
        assert isinstance(worker.load(model), Loaded)
        limited, free = asked(worker, "hello", thinking_budget=2), asked(worker, "hello")
        ends = [end for end in worker.finish(worker.submit(limited), worker.submit(free)) if isinstance(end, Finished)]
        assert [end.usage.reasoning_tokens for end in ends] == [2, ends[1].usage.completion_tokens]
        # After the forced end, this model begins its script again.
        assert worker.text(limited.id) == "one two three four" and worker.text(free.id) == ""


@pytest.mark.parametrize("choice", [ToolChoice(mode="required"), ToolChoice(mode="named", name="stop")])
def test_a_required_call_is_made_in_a_real_worker(choice: ToolChoice, tmp_path: Path) -> None:
    template = TEMPLATE + "{#- tools <tool_call> tool_call.name -#}"
    model = build_scripted(tmp_path, "I do not call.", special=["<tool_call>", "</tool_call>"], template=template)
    integer = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    tools = (
        Tool(name="stop", strict=True, parameters={"type": "object", "additionalProperties": False}),
        Tool(name="add", strict=True, parameters=integer | {"additionalProperties": False}),
    )
    message = Message(role="user", content=(TextPart(text="hello"),))
    prompt = Chat(messages=(message,), tools=tools, tool_choice=choice, parallel_tool_calls=False)
    with WorkerProcess() as worker:
        assert isinstance(worker.load(model), Loaded)
        request = Generate(id=worker.name(), model="m", prompt=prompt, max_tokens=60)
        (end,) = worker.finish(worker.submit(request))
        assert isinstance(end, Finished) and worker.text(request.id) == "" and end.reason == "tool_calls"

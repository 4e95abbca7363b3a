"""A real worker with hostile prompts, templates and answers, and under signals: what each fault costs."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from lmx_daemon.contract.generation.events import Failed, Finished
from lmx_daemon.contract.generation.requests import Chat, Count, Generate, Message, Text, TextPart, Tool
from lmx_daemon.contract.worker.messages import LAST_WORDS, Cancel, Heartbeat, Loaded, LoadFailed, Log
from tests.engines.mlx.worker_process import WorkerProcess, chat, completion
from tests.models import build_model
from tests.scripted import build_scripted

HUNGRY = r"(x+x+)+[^x\s]"
"""A pre-tokenizer's pattern that panics on many x, and takes 0.1 s for each 22 of them."""
REFUSES = "{% if messages[0].content == 'no' %}{{ raise_exception('x \\ud83d') }}{% endif %}{{ messages[0].content }}"
CALL = '<tool_call>{"name": "f", "arguments": {"a": "\\ud83d"}}</tool_call>'
CALLING = "{{ messages[0].content }}{# <tool_call> tool_call.name #}"


def with_pattern(folder: Path, pattern: str) -> Path:
    """Build a model whose tokenizer splits by `pattern`."""
    from tokenizers import Regex, Tokenizer, pre_tokenizers

    path = build_model("llama", folder, ends=False)
    tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
    bytes_of_it = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated"), bytes_of_it]  # type: ignore[list-item]
    )
    tokenizer.save(str(path / "tokenizer.json"))
    return path


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    """Worker with a tokenizer that panics and a template that refuses with half a character."""
    path = with_pattern(tmp_path_factory.mktemp("fragile") / "model", HUNGRY)
    settings = json.loads((path / "tokenizer_config.json").read_text())
    (path / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": REFUSES}))
    with WorkerProcess() as worker:
        assert isinstance(worker.load(path, template_seconds=3.0), Loaded)
        yield worker


def renderer(worker: WorkerProcess) -> psutil.Process:
    (child,) = psutil.Process(worker.process.pid).children()
    return child


def failed(worker: WorkerProcess, request: Any, seconds: float = 15.0) -> Failed:
    (event,) = worker.finish(worker.submit(request), seconds=seconds)
    assert isinstance(event, Failed)
    return event


def answers(worker: WorkerProcess) -> bool:
    (event,) = worker.finish(worker.submit(chat(worker, "hello")), seconds=120)
    return isinstance(event, Finished)


class TestPrompts:
    def test_a_panic_of_the_tokenizer_fails_one_request(self, fragile: WorkerProcess) -> None:
        beside = fragile.submit(completion(fragile, "hello", max_tokens=200))
        error = failed(fragile, completion(fragile, "x" * 3000)).error
        assert error.code == "invalid_request" and "PanicException" in error.message
        assert error.param == "prompt" and failed(fragile, chat(fragile, "x" * 3000)).error.param == "messages"
        count = Count(id=fragile.name(), model="test", prompt=Text(text="x" * 3000))
        assert failed(fragile, count).error.code == "invalid_request"
        (event,) = fragile.finish(beside)
        assert isinstance(event, Finished) and answers(fragile)

    def test_a_deadline_passes_while_the_prompt_is_prepared(self, fragile: WorkerProcess) -> None:
        slow = ("x" * 22 + " ") * 60
        begun = time.monotonic()
        first = fragile.submit(completion(fragile, slow))
        second = fragile.submit(completion(fragile, "hello", queue_deadline=0.5))
        third = fragile.submit(completion(fragile, slow, deadline=0.5))
        for event in fragile.finish(second, third, seconds=4):
            assert isinstance(event, Failed) and event.error.code == "deadline_exceeded"
        assert fragile.terminal(first) is None, "the first prompt was prepared too fast to test anything"
        assert time.monotonic() - begun < 3.0
        fragile.cancel(first)
        fragile.finish(first, seconds=2)
        assert answers(fragile)

    def test_a_prompt_in_preparation_is_cancelled_at_once(self, fragile: WorkerProcess) -> None:
        slow = completion(fragile, ("x" * 22 + " ") * 60, choices=2)
        fragile.submit(slow)
        time.sleep(0.3)
        begun = time.monotonic()
        fragile.cancel(slow.id)
        (event,) = fragile.finish(slow.id, seconds=3)
        assert isinstance(event, Finished) and [ending.reason for ending in event.endings] == ["cancelled"] * 2
        assert time.monotonic() - begun < 1.0

    def test_a_prompt_in_preparation_shows_as_work_without_progress(self, fragile: WorkerProcess) -> None:
        fragile.messages.clear()
        identity = fragile.submit(completion(fragile, ("x" * 22 + " ") * 40))
        beats: list[Heartbeat] = []

        def standing_still() -> bool:
            beats[:] = [message for message in fragile.messages if isinstance(message, Heartbeat) and message.preparing]
            return len(beats) >= 3

        fragile.read(standing_still, 10)
        assert len({beat.prepared for beat in beats[-3:]}) == 1 and beats[-1].waiting == 1
        fragile.cancel(identity)
        fragile.finish(identity)


class TestCancels:
    def test_a_cancel_never_reaches_a_later_request_with_the_same_id(self, fragile: WorkerProcess) -> None:
        for _ in range(200):
            request = completion(fragile, "a", max_tokens=1)
            fragile.submit(request)
            fragile.send(Cancel(id=request.id))
            fragile.finish(request.id)
            fragile.send(Cancel(id=request.id))
            del fragile.events[request.id]
            fragile.submit(request)
            (event,) = fragile.finish(request.id)
            assert isinstance(event, Finished) and event.reason == "length"


class TestHalfCharacters:
    def test_half_a_character_in_a_template_error_is_replaced(self, fragile: WorkerProcess) -> None:
        error = failed(fragile, chat(fragile, "no")).error
        assert error.code == "invalid_request" and "x \N{REPLACEMENT CHARACTER}" in error.message
        assert answers(fragile)

    def test_half_a_character_in_a_tool_call_is_replaced(self, tmp_path: Path) -> None:
        tool = Tool(name="f", description="", parameters={"type": "object"})
        path = build_scripted(tmp_path, CALL, special=["<tool_call>", "</tool_call>"], template=CALLING)
        with WorkerProcess() as worker:
            assert isinstance(worker.load(path), Loaded)
            for _ in range(2):
                prompt = Chat(messages=(Message(role="user", content=(TextPart(text="hello"),)),), tools=(tool,))
                asked = Generate(id=worker.name(), model="test", prompt=prompt, max_tokens=100)
                (event,) = worker.finish(worker.submit(asked))
                assert isinstance(event, Finished)
                calls = [delta.tool_call for delta in worker.deltas(asked.id) if delta.tool_call]
                assert json.loads("".join(call.arguments for call in calls)) == {"a": "\N{REPLACEMENT CHARACTER}"}

    def test_half_a_character_in_a_load_error_is_replaced(self, tmp_path: Path) -> None:
        path = build_model("llama", tmp_path / "model")
        config = json.loads((path / "config.json").read_text()) | {"model_type": "\ud83d"}
        (path / "config.json").write_text(json.dumps(config))
        with WorkerProcess() as worker:
            assert isinstance(worker.load(path), LoadFailed)


class TestTemplateChild:
    def test_a_stopped_template_child_takes_the_template_limit(self, fragile: WorkerProcess) -> None:
        """The pipe holds 64 kB; the rest of the prompt cannot be written."""
        assert answers(fragile)
        renderer(fragile).send_signal(signal.SIGSTOP)
        begun = time.monotonic()
        error = failed(fragile, chat(fragile, "long " * 100_000)).error
        assert "chat template took more than 3 s" in error.message and time.monotonic() - begun < 8
        assert answers(fragile)

    def test_a_killed_template_child_fails_no_request(self, fragile: WorkerProcess) -> None:
        for _ in range(5):
            assert answers(fragile)
            renderer(fragile).kill()
            assert answers(fragile)


def test_the_template_child_inherits_no_descriptor(tmp_path: Path) -> None:
    """With a copy of the socket in the child, the daemon would not notice the worker's end."""
    source, sink = os.pipe()
    with WorkerProcess(left_open=[source, sink]) as worker:
        assert isinstance(worker.load(build_model("llama", tmp_path / "model", ends=False)), Loaded)
        assert answers(worker) and renderer(worker).num_fds() == 3
    os.close(source)
    os.close(sink)


DIES = """
import os, sys, threading, time
def die():
    while threading.excepthook is hook:
        time.sleep(0.01)
    while not os.path.exists(sys.argv_flag):
        time.sleep(0.01)
    raise SystemExit("of its own accord")
hook, sys.argv_flag = threading.excepthook, os.environ["LMX_TEST_FLAG"]
threading.Thread(target=die, name="stray", daemon=True).start()
"""


def test_an_exception_in_a_thread_ends_the_worker(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "sitecustomize.py").write_text(DIES)
    path = build_model("llama", tmp_path / "model", ends=False)
    with WorkerProcess({"PYTHONPATH": str(tmp_path), "LMX_TEST_FLAG": str(tmp_path / "flag")}) as worker:
        assert isinstance(worker.load(path), Loaded)
        worker.submit(completion(worker, "hello", max_tokens=20_000))
        (tmp_path / "flag").touch()
        assert worker.process.wait(10) == 4
        with pytest.raises(EOFError):
            worker.read(lambda: False, 5)
        errors = [
            message.message for message in worker.messages if isinstance(message, Log) and message.level == "error"
        ]
        assert errors == ["the stray thread ended: SystemExit: of its own accord"]
    assert f"{LAST_WORDS}{errors[0]}" in capfd.readouterr().err

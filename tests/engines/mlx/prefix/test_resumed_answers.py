"""Preempted requests that are resumed, for lack of memory or after a failed step: their answers do not change."""

import json
from pathlib import Path
from typing import Any

import pytest

from lmx_daemon.contract.generation.events import Event, Failed, Finished
from lmx_daemon.contract.generation.requests import Generate, Tokens
from lmx_daemon.contract.worker.messages import Grant, Load, Loaded, LoadFailed, Log, TextOptions
from lmx_daemon.engines.mlx.schedule.faults import MAX_FAILED_STEPS
from tests.engines.mlx.worker_process import WorkerProcess, completion, sampled
from tests.models import build_model

POISON = 77
DEADLY = 511
PER_TOKEN = 2 * 2 * 2 * 16 * 4
POISONED_MODEL = f"""
import mlx.core as mx
from mlx_lm.models.llama import Model as Llama, ModelArgs

broken = []

class Model(Llama):
    def __call__(self, inputs, cache=None, **rest):
        if broken or (inputs.shape[1] > 1 and mx.all(inputs == {DEADLY}).item()):
            broken.append(True)
            raise RuntimeError("broken for ever")
        if mx.any(inputs[:, -1] == {POISON}).item():
            raise RuntimeError("poisoned")
        return super().__call__(inputs, cache=cache, **rest)
"""
PROMPTS = ["Once upon a time", "a worker holds the model", "0123456789 0123456789"]
LENGTH = 60


def prompts(worker: WorkerProcess, count: int = LENGTH) -> list[Any]:
    """Return greedy, sampled and penalised requests, each with its own prefix."""
    chosen = [{}, {"sampling": sampled(temperature=0.9, seed=6)}, {"sampling": sampled(presence_penalty=1.5)}]
    return [
        completion(worker, prompt, max_tokens=count, cache_namespace=str(len(worker.events) + index), **fields)
        for index, (prompt, fields) in enumerate(zip(PROMPTS, chosen, strict=True))
    ]


def alone(worker: WorkerProcess, count: int = LENGTH, several: int = 3) -> list[list[int]]:
    found = []
    for request in prompts(worker, count)[:several]:
        worker.finish(worker.submit(request))
        found.append(worker.tokens(request.id))
    return found


def logged(worker: WorkerProcess) -> list[str]:
    return [message.message for message in worker.messages if isinstance(message, Log)]


def of_ids(identity: str, *ids: int) -> Generate:
    return Generate(id=identity, model="test", prompt=Tokens(ids=ids), max_tokens=5)


def finished(events: list[Event]) -> bool:
    return all(isinstance(event, Finished) and event.reason == "length" for event in events)


class TestPoison:
    @pytest.fixture
    def worker(self, tmp_path: Path) -> Any:
        path = build_model("llama", tmp_path / "poisoned", ends=False)
        config = json.loads((path / "config.json").read_text())
        (path / "config.json").write_text(json.dumps(config | {"model_file": "poisoned.py"}))
        (path / "poisoned.py").write_text(POISONED_MODEL)
        with WorkerProcess() as running:
            running.send(Load(instance="test:1", model="test", path=str(path), options=TextOptions(), trusted=True))
            running.read(lambda: any(isinstance(message, Loaded | LoadFailed) for message in running.messages))
            assert not any(isinstance(message, LoadFailed) for message in running.messages)
            yield running

    def test_a_poisoned_request_fails_alone(self, worker: WorkerProcess) -> None:
        expected = alone(worker)
        others = [worker.submit(request) for request in prompts(worker)]
        worker.read(lambda: all(len(worker.tokens(identity)) > 5 for identity in others))
        (failed,) = worker.finish(worker.submit(of_ids("poison", 5, 6, POISON)))
        assert isinstance(failed, Failed) and "poisoned" in failed.error.message
        assert finished(worker.finish(*others))
        for identity, tokens in zip(others, expected, strict=True):
            assert POISON not in tokens[:-1]
            assert worker.tokens(identity) == tokens
        assert worker.process.poll() is None

    def test_several_poisoned_requests_fail_alone(self, worker: WorkerProcess) -> None:
        expected = alone(worker)
        others = [worker.submit(request) for request in prompts(worker)]
        worker.read(lambda: all(len(worker.tokens(identity)) > 5 for identity in others))
        bad = [worker.submit(of_ids(f"poison{number}", 5, number, POISON)) for number in range(MAX_FAILED_STEPS + 2)]
        assert all(isinstance(event, Failed) for event in worker.finish(*bad))
        assert finished(worker.finish(*others))
        assert [worker.tokens(identity) for identity in others] == expected

    def test_the_worker_ends_if_no_step_works(self, worker: WorkerProcess) -> None:
        (failed,) = worker.finish(worker.submit(of_ids("deadly", DEADLY, DEADLY, DEADLY)))
        assert isinstance(failed, Failed)
        with pytest.raises((EOFError, ConnectionError)):
            for number in range(MAX_FAILED_STEPS + 1):
                worker.finish(worker.submit(of_ids(f"r{number}", 5)))
        assert worker.process.wait(20)


class TestMemory:
    def test_answers_that_outgrow_their_memory_are_preempted_and_resumed(self, tmp_path: Path) -> None:
        path = build_model("llama", tmp_path / "llama", ends=False)
        count = 2000
        with WorkerProcess() as worker:
            assert isinstance(worker.load(path, prefix_cache_bytes=0), Loaded)
            expected = alone(worker, count, 2)
            worker.send(Grant(cache_bytes=2700 * PER_TOKEN))
            together = [worker.submit(request) for request in prompts(worker, count)[:2]]
            assert finished(worker.finish(*together, seconds=120))
            assert [worker.tokens(identity) for identity in together] == expected
            assert any(line.startswith("preempted") for line in logged(worker))

    def test_running_requests_finish_after_a_grant_shrinks(self, tmp_path: Path) -> None:
        path = build_model("llama", tmp_path / "llama", ends=False)
        with WorkerProcess() as worker:
            loaded = worker.load(path, cache_bytes=4096 * PER_TOKEN)
            assert isinstance(loaded, Loaded) and loaded.cache is not None
            assert loaded.cache.bytes(256) == 256 * PER_TOKEN
            running = worker.submit(completion(worker, "x", max_tokens=300))
            worker.send(Grant(cache_bytes=256 * PER_TOKEN))
            refused = worker.submit(of_ids("long", *(5,) * 300))
            first, second = worker.finish(running, refused)
            assert isinstance(first, Finished) and isinstance(second, Failed)
            assert second.error.code == "context_length_exceeded"
            worker.send(Grant(cache_bytes=0))
            (third,) = worker.finish(worker.submit(completion(worker, "y " * 400, max_tokens=3)))
            assert isinstance(third, Finished)

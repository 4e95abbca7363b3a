"""The scheduler under random schedules: arrivals, cancellations, failed steps, preemptions and stored prefixes.

An answer's tokens, text and log-probabilities must always be those of the same request run alone.
"""

import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lmx_daemon.contract.generation.events import (
    Delta,
    Event,
    Failed,
    Finished,
    Prefill,
    PromptTokens,
    Started,
    TokenLogprob,
    is_terminal,
)
from lmx_daemon.contract.generation.requests import Decide, Generate, Sampling, Tokens
from lmx_daemon.contract.worker.messages import Events, TextOptions
from lmx_daemon.engines.mlx.commands import Ready
from lmx_daemon.engines.mlx.load.model import LoadedModel, load
from lmx_daemon.engines.mlx.load.probe import probe_model
from lmx_daemon.engines.mlx.prefix.cache import PrefixCache
from lmx_daemon.engines.mlx.prefix.disk_tier import DiskTier
from lmx_daemon.engines.mlx.prefix.sharing import PrefixSharing
from lmx_daemon.engines.mlx.schedule.queue import RequestQueue
from lmx_daemon.engines.mlx.schedule.scheduler import Scheduler
from lmx_daemon.engines.mlx.text.prompts.prompt import PreparedPrompt
from lmx_daemon.worker.heartbeat import HeartbeatCounters
from tests.engines.mlx.batch.test_batch import EVERY, tokens_of
from tests.models import build_model

QUICK = ("llama", "gemma3_text")
OPTIONS = TextOptions(prefill_step=48, max_running=10)
CONTEXT = 2048
KINDS: dict[str, dict[str, Any]] = {
    "greedy": {"sampling": Sampling(temperature=0.0)},
    "reported": {"sampling": Sampling(temperature=0.0, frequency_penalty=1.0), "top_logprobs": 2},
    "drawn": {"sampling": Sampling(temperature=0.9, top_p=0.9, seed=5, repetition_penalty=1.3), "choices": 2},
    "scored": {"sampling": Sampling(temperature=0.0), "prompt_logprobs": 2},
    "several": {"sampling": Sampling(temperature=1.0, top_k=40, seed=3, presence_penalty=1.0), "choices": 3},
}
DEADLINE = 0.05

Output = tuple[list[int], str, list[Any]]
"""Tokens, text, log-probabilities of one choice."""


class Breaking:
    """A model whose next call can be made to raise."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.armed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        if self.armed:
            self.armed = False
            raise RuntimeError("broken once")
        return self._model(*arguments, **named)


class World:
    """Scheduler, and the events that it has sent."""

    def __init__(self, loaded: LoadedModel, prefixes: PrefixSharing) -> None:
        abilities = probe_model(loaded.model)
        self.shape = abilities.cache
        self.events: dict[str, list[Event]] = {}
        self.asked: dict[str, Generate] = {}
        self.decisions: list[str] = []
        self.counters = HeartbeatCounters()
        queue = RequestQueue(self.shape, 0, CONTEXT)
        self.scheduler = Scheduler(
            loaded, abilities, "one", OPTIONS, queue, prefixes, counters=self.counters, send=self._receive
        )

    def _receive(self, message: Any) -> None:
        if isinstance(message, Events):
            for event in message.events:
                self.events.setdefault(event.id, []).append(event)

    def ask(self, prompt: tuple[int, ...], ago: float = 0.0, **fields: Any) -> str:
        identity = f"r{len(self.asked)}"
        request = Generate(id=identity, model="m", prompt=Tokens(ids=prompt), token_ids=True, **fields)
        self.asked[identity] = request
        self.scheduler.receive(Ready(request, PreparedPrompt(list(prompt), [], raw=True), time.monotonic() - ago, 0.0))
        return identity

    def decide(self, prompt: tuple[int, ...], options: tuple[tuple[int, ...], ...], **fields: Any) -> str:
        """Ask for the log-probabilities of options, given as tokens."""
        identity = f"d{len(self.decisions)}"
        texts = tuple(map(str, options))
        request = Decide(id=identity, model="m", prompt=Tokens(ids=prompt), options=texts, **fields)
        self.decisions.append(identity)
        prepared = PreparedPrompt(list(prompt), [], raw=True, options=options)
        self.scheduler.receive(Ready(request, prepared, time.monotonic(), 0.0))
        return identity

    def open(self) -> list[str]:
        return [name for name in (*self.asked, *self.decisions) if not any(map(is_terminal, self.events.get(name, [])))]

    def finish(self) -> None:
        until = time.monotonic() + 60
        while self.open():
            assert time.monotonic() < until, f"these requests never ended: {self.open()}"
            self.scheduler.turn()
            if self.scheduler.idle:
                time.sleep(0.001)
        assert not self.counters.busy and self.counters.running == 0, "an ended request counts as running"

    def prompt(self, identity: str) -> list[TokenLogprob]:
        """Return the reported tokens of the prompt."""
        return [token for e in self.events[identity] if isinstance(e, PromptTokens) for token in e.tokens]

    def answer(self, identity: str, choice: int) -> Output:
        deltas = [e for e in self.events[identity] if isinstance(e, Delta) and e.choice == choice]
        return (
            [token for delta in deltas for token in delta.token_ids],
            "".join(delta.content for delta in deltas),
            [logprob for delta in deltas for logprob in delta.logprobs],
        )


class Schedules:
    """Random schedules on one model; `alone` gives the expected answers."""

    def __init__(self, path: Path) -> None:
        self._loaded = load(path, OPTIONS, lambda *_: None)
        self._model = self._loaded.model = Breaking(self._loaded.model)
        self._alone = World(self._loaded, PrefixSharing())
        self._known: dict[Any, list[Output]] = {}
        self._prompts: dict[tuple[int, ...], list[TokenLogprob]] = {}

    def alone(self, prompt: tuple[int, ...], kind: str) -> list[Output]:
        if (prompt, kind) not in self._known:
            armed, self._model.armed = self._model.armed, False
            name = self._alone.ask(prompt, max_tokens=40, **KINDS[kind])
            self._alone.finish()
            self._model.armed = armed
            count = self._alone.asked[name].choices
            self._prompts[prompt] = self._alone.prompt(name) or self._prompts.get(prompt, [])
            self._known[prompt, kind] = [self._alone.answer(name, choice) for choice in range(count)]
        return self._known[prompt, kind]

    def scored(self, prompt: tuple[int, ...]) -> list[TokenLogprob]:
        """Return the log-probabilities of a prompt's tokens."""
        self.alone(prompt, "scored")
        return self._prompts[prompt]

    def world(self, memory: int = 0) -> World:
        """Return a new world whose prefix cache has `memory` bytes."""
        return World(self._loaded, PrefixSharing(PrefixCache(memory)))

    def run(self, seed: int, folder: Path, acts: int) -> int:
        """Run `acts` random acts, check all answers, and return the number of requests that finished."""
        generator = random.Random(seed)
        disk = DiskTier(folder, "mark", 1 << 28, lambda _: None, lambda: None, reserve=0)
        memory = generator.choice((0, 300_000, 1 << 28))
        world = World(self._loaded, PrefixSharing(PrefixCache(memory, "mark", disk), disk))
        wanted: dict[str, tuple[tuple[int, ...], str]] = {}
        for _ in range(acts):
            act = generator.random()
            if act < 0.3:
                self._ask(world, generator, wanted)
            elif act < 0.36 and world.open():
                world.scheduler.drop(generator.choice(world.open()))
            elif act < 0.39:
                self._model.armed = True
            elif act < 0.43 and world.shape is not None:
                world.scheduler.grant(generator.choice((0, world.shape.bytes(400), world.shape.bytes(900))))
            elif act < 0.44:
                time.sleep(DEADLINE)
            for _ in range(generator.randint(1, 6)):
                world.scheduler.turn()
        world.scheduler.grant(0)
        self._model.armed = False
        world.finish()
        disk.close(5)
        for name, (prompt, kind) in wanted.items():
            self._judge(world, name, self.alone(prompt, kind), f"seed {seed}, {name}: {kind}")
            if kind == "scored":
                found, expected, end = world.prompt(name), self.scored(prompt), world.events[name][-1]
                complete = isinstance(end, Finished) and end.endings[0].reason != "cancelled"
                assert len(found) == len(expected) or not complete
                assert_same_logprobs(found, expected[: len(found)])
        return sum(isinstance(world.events[name][-1], Finished) for name in wanted)

    def _ask(self, world: World, generator: random.Random, wanted: dict[str, Any]) -> None:
        prompt = tokens_of(generator.randint(0, 2), generator.choice((1, 9, 64, 65, 130, 200)))
        kind = generator.choice(list(KINDS))
        fields: dict[str, Any] = dict(KINDS[kind]) | {"max_tokens": generator.randint(1, 40)}
        if generator.random() < 0.3:
            _, text, _ = self.alone(prompt, kind)[0]
            place = generator.randrange(max(1, len(text) - 3))
            stop = text[place : place + generator.randint(1, 3)]
            # An answer that ends within a character has the replacement where a longer one has the character.
            fields["stop"] = (stop if stop and "\ufffd" not in stop else "never",)
        if generator.random() < 0.1:
            fields["deadline"] = DEADLINE
        wanted[world.ask(prompt, **fields)] = prompt, kind

    def _judge(self, world: World, name: str, expected: list[Output], label: str) -> None:
        request, end = world.asked[name], world.events[name][-1]
        assert sum(map(is_terminal, world.events[name])) == 1, label
        endings = end.endings if isinstance(end, Finished) else ()
        if isinstance(end, Failed):
            assert end.error.code in ("worker_failed", "deadline_exceeded", "context_length_exceeded"), label
        for choice, (tokens, text, logprobs) in enumerate(expected):
            generated, content, found = world.answer(name, choice)
            assert generated == tokens[: len(generated)], f"{label}: choice {choice} is {generated}, not {tokens}"
            for one, other in zip(found, logprobs, strict=False):
                assert one.id == other.id and one.logprob == pytest.approx(other.logprob, abs=1e-3), label
            ending = endings[choice] if endings else None
            if ending is not None and ending.matched_stop is not None:
                places = [text.index(stop) for stop in request.stop if stop in text]
                assert content == text[: min(places)], f"{label}: {content!r} of {text!r}, stop {request.stop}"
            elif ending is not None and ending.reason == "stop":  # qwen2's tokenizer has an end token of its own
                assert (generated, content) == (tokens, text), f"{label}: {content!r} of {text!r} is not its end"
            else:
                assert text.startswith(content.rstrip("\ufffd")), f"{label}: {content!r} of {text!r}"
            if ending is not None and ending.reason == "length":
                assert len(generated) <= (request.max_tokens or 0), label


def assert_same_logprobs(found: Sequence[TokenLogprob], expected: Sequence[TokenLogprob]) -> None:
    assert [one.id for one in found] == [other.id for other in expected]
    assert [one.logprob for one in found[1:]] == pytest.approx([other.logprob for other in expected[1:]], abs=1e-3)


def schedules_of(architecture: str, tmp_path: Path) -> Schedules:
    return Schedules(build_model(architecture, tmp_path / "model", ends=False))


@pytest.mark.parametrize("architecture", QUICK)
def test_answer_equals_the_answer_of_the_request_alone(architecture: str, tmp_path: Path) -> None:
    schedules = schedules_of(architecture, tmp_path)
    assert sum(schedules.run(seed, tmp_path / "disk", 60) for seed in range(1)) > 3


@pytest.mark.slow
@pytest.mark.parametrize("architecture", EVERY)
def test_answer_equals_the_answer_of_the_request_alone_in_long_runs(architecture: str, tmp_path: Path) -> None:
    schedules = schedules_of(architecture, tmp_path)
    for seed in range(100, 160):
        schedules.run(seed, tmp_path / f"disk{seed % 3}", 150)


@pytest.mark.parametrize("architecture", (*QUICK, "falcon_h1"))
def test_prompt_that_was_dropped_in_prefill_is_continued_by_its_retry(architecture: str, tmp_path: Path) -> None:
    schedules, prompt = schedules_of(architecture, tmp_path), tokens_of(0, 400)
    expected = schedules.alone(prompt, "greedy")
    world = schedules.world(memory=1 << 28)
    left = world.ask(prompt, max_tokens=40, **KINDS["greedy"])
    while not any(isinstance(event, Prefill) for event in world.events[left]):
        world.scheduler.turn()
    world.scheduler.drop(left)
    again = world.ask(prompt, max_tokens=40, **KINDS["greedy"])
    world.finish()
    started = next(event for event in world.events[again] if isinstance(event, Started))
    assert 0 < started.cached_tokens < 399 and [world.answer(again, 0)] == expected


def test_stop_tokens_end_only_their_own_request(tmp_path: Path) -> None:
    schedules, prompt, fields = schedules_of("llama", tmp_path), tokens_of(0, 20), {"max_tokens": 40}
    tokens, _, _ = schedules.alone(prompt, "greedy")[0]
    world = schedules.world()
    one = world.ask(prompt, stop_tokens=(tokens[7],), **KINDS["greedy"], **fields)
    other = world.ask(prompt, **KINDS["greedy"], **fields)
    strange = world.ask(prompt, stop_tokens=(999_999,))
    world.finish()
    assert world.answer(one, 0)[0] == tokens[: tokens.index(tokens[7])] and world.answer(other, 0)[0] == tokens
    ended, refused = world.events[one][-1], world.events[strange][-1]
    assert isinstance(ended, Finished) and ended.reason == "stop"
    assert isinstance(refused, Failed) and refused.error.param == "stop_token_ids"


def test_request_that_is_overdue_on_arrival_does_not_start(tmp_path: Path) -> None:
    world = schedules_of("llama", tmp_path).world()
    late = world.ask(tokens_of(0, 20), ago=5.0, queue_deadline=2.0, max_tokens=4)
    early = world.ask(tokens_of(0, 20), ago=5.0, queue_deadline=60.0, max_tokens=4)
    world.finish()
    (failed,), ended = world.events[late], world.events[early][-1]
    assert isinstance(failed, Failed) and failed.error.code == "deadline_exceeded" and isinstance(ended, Finished)

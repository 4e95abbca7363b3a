"""Decisions: the log-probabilities of options are those of the model's own logits, whatever else is computed."""

from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from lmx_daemon.contract.generation.events import Decided, Failed, Finished, Started
from lmx_daemon.contract.generation.requests import Sampling
from lmx_daemon.engines.mlx.batch.scoring import scratch_bytes
from lmx_daemon.engines.mlx.prefix.cache import PrefixCache
from lmx_daemon.engines.mlx.prefix.sharing import PrefixSharing
from tests.engines.mlx.batch.test_batch import tokens_of
from tests.engines.mlx.schedule.test_prompt_logprobs import loaded_from, logprobs_of
from tests.engines.mlx.schedule.test_scheduler import Breaking, World

OPTIONS = ((5,), (9, 30), (9, 31, 40), (77,), (300, 2, 2, 2))
PROMPT = tokens_of(0, 130)
GREEDY = Sampling(temperature=0.0)


def expected_of(model: Any, prompt: tuple[int, ...], options: tuple[tuple[int, ...], ...] = OPTIONS) -> list[float]:
    """Return the sum of the log-probabilities of each option, from one call of the model for each."""
    sums = []
    for option in options:
        logprobs = logprobs_of(model, (*prompt, *option))
        places = range(len(prompt), len(prompt) + len(option))
        sums.append(sum(logprobs[place - 1, (*prompt, *option)[place]].item() for place in places))
    return sums


def decided(world: World, name: str) -> Decided:
    event = world.events[name][-1]
    assert isinstance(event, Decided), event
    return event


@pytest.mark.parametrize("architecture", ["llama", "gemma3_text", "mamba"])
def test_log_probabilities_are_those_of_the_models_logits(architecture: str, tmp_path: Path) -> None:
    loaded = loaded_from(tmp_path, architecture)
    world = World(loaded, PrefixSharing(PrefixCache(1 << 28)))
    for prompt in (PROMPT, PROMPT[:1], PROMPT):
        name = world.decide(prompt, OPTIONS)
        world.finish()
        found = decided(world, name)
        assert found.logprobs == pytest.approx(expected_of(loaded.model, prompt), abs=2e-3)
        assert found.usage.prompt_tokens == len(prompt) and found.usage.completion_tokens == 0
    assert world.scheduler.waits is False


def test_context_of_an_earlier_decision_or_answer_is_reused(tmp_path: Path) -> None:
    loaded = loaded_from(tmp_path, "llama")
    world = World(loaded, PrefixSharing(PrefixCache(1 << 28)))
    first = world.decide(PROMPT, OPTIONS)
    world.finish()
    other = (*PROMPT[:100], *tokens_of(3, 20))
    second, repeated = world.decide(other, OPTIONS[:1]), world.decide(PROMPT, OPTIONS)
    world.finish()
    assert decided(world, first).usage.cached_tokens == 0
    assert decided(world, second).usage.cached_tokens >= 100 - 1
    assert decided(world, repeated).usage.cached_tokens == len(PROMPT) - 1
    assert decided(world, second).logprobs == pytest.approx(expected_of(loaded.model, other, OPTIONS[:1]), abs=2e-3)
    assert decided(world, repeated).logprobs == pytest.approx(decided(world, first).logprobs, abs=2e-3)
    answer = world.ask(PROMPT, max_tokens=1)
    world.finish()
    end = world.events[answer][-1]
    assert isinstance(end, Finished) and end.usage.cached_tokens == len(PROMPT) - 1


def test_decisions_and_answers_share_the_batch(tmp_path: Path) -> None:
    loaded = loaded_from(tmp_path, "llama")
    world = World(loaded, PrefixSharing(PrefixCache(1 << 28)))
    alone = world.ask(PROMPT, max_tokens=30, sampling=GREEDY)
    world.finish()
    answer = world.ask(PROMPT, max_tokens=30, sampling=GREEDY)
    prompts = [tokens_of(seed, 60 + 7 * seed) for seed in range(6)]
    names = [world.decide(prompt, OPTIONS) for prompt in prompts]
    world.finish()
    assert world.answer(answer, 0) == world.answer(alone, 0)
    for name, prompt in zip(names, prompts, strict=True):
        assert decided(world, name).logprobs == pytest.approx(expected_of(loaded.model, prompt), abs=2e-3)
        assert sum(isinstance(event, Started) for event in world.events[name]) == 1


def test_decision_survives_a_failed_step_and_preemption(tmp_path: Path) -> None:
    loaded = loaded_from(tmp_path, "llama")
    model = loaded.model
    breaking = loaded.model = Breaking(model)
    world = World(loaded, PrefixSharing(PrefixCache(1 << 28)))
    other = world.ask(tokens_of(4, 300), max_tokens=60, sampling=GREEDY)
    world.scheduler.turn()
    name = world.decide(PROMPT, OPTIONS)
    for turn in range(6):
        world.scheduler.turn()
        breaking.armed = turn == 2
    assert world.shape is not None
    world.scheduler.grant(world.shape.bytes(400) + scratch_bytes(64, loaded.vocabulary))
    world.scheduler.turn()
    world.scheduler.grant(0)
    world.finish()
    ends = [world.events[each][-1] for each in (name, other)]
    failed = [end for end in ends if isinstance(end, Failed)]
    assert len(failed) <= 1  # the request in whose call the model raised
    if not isinstance(world.events[name][-1], Failed):
        assert decided(world, name).logprobs == pytest.approx(expected_of(model, PROMPT), abs=2e-3)


def test_cancelled_and_overdue_decisions_end(tmp_path: Path) -> None:
    world = World(loaded_from(tmp_path, "llama"), PrefixSharing(PrefixCache(1 << 28)))
    cancelled = world.decide(tokens_of(1, 1500), OPTIONS)
    world.scheduler.turn()
    world.scheduler.drop(cancelled)
    overdue = world.decide(PROMPT, OPTIONS, deadline=1e-9)
    world.scheduler.turn()
    world.finish()
    end, failed = world.events[cancelled][-1], world.events[overdue][-1]
    assert isinstance(end, Finished) and end.reason == "cancelled"
    assert isinstance(failed, Failed) and failed.error.code == "deadline_exceeded"


def test_probabilities_of_exclusive_options_do_not_exceed_one(tmp_path: Path) -> None:
    world = World(loaded_from(tmp_path, "llama"), PrefixSharing())
    name = world.decide(PROMPT, tuple((token,) for token in range(200)))
    world.finish()
    total = mx.exp(mx.array(decided(world, name).logprobs)).sum().item()
    assert 0 < total < 1

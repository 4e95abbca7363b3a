"""Log-probabilities of prompts: those of the model's own logits, whatever is stored, and in pieces of bounded size."""

from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from lmx_daemon.contract.generation.events import Delta, Failed, Finished, PromptTokens, Started
from lmx_daemon.contract.generation.requests import Sampling
from lmx_daemon.contract.worker.messages import TextOptions
from lmx_daemon.engines.mlx.batch.prefill import FOLDED, Pace, PrefillPrompt, choose_pieces
from lmx_daemon.engines.mlx.batch.scoring import LOGIT_BYTES, Scoring, piece_tokens, scratch_bytes
from lmx_daemon.engines.mlx.batch.step import Row
from lmx_daemon.engines.mlx.load.model import LoadedModel, load
from lmx_daemon.engines.mlx.prefix.cache import PrefixCache
from lmx_daemon.engines.mlx.prefix.sharing import PrefixSharing
from lmx_daemon.engines.mlx.sampling.parameters import GREEDY
from tests.engines.mlx.batch.test_batch import tokens_of
from tests.engines.mlx.schedule.test_scheduler import World
from tests.models import build_model

LARGE_VOCABULARY = 151_936
GREEDILY: dict[str, Any] = {"sampling": Sampling(temperature=0.0)}


def loaded_from(folder: Path, architecture: str) -> LoadedModel:
    return load(build_model(architecture, folder / architecture, ends=False), TextOptions(), lambda *_: None)


def logprobs_of(model: Any, tokens: tuple[int, ...]) -> mx.array:
    """Return the log-probabilities [tokens, vocabulary] from one call of the model, without a cache."""
    logits = model(mx.array([tokens]))[0].astype(mx.float32)
    return logits - mx.logsumexp(logits, axis=-1, keepdims=True)


@pytest.mark.parametrize("architecture", ["llama", "gemma3_text", "mamba"])
def test_log_probabilities_of_a_prompt_are_those_of_the_models_logits(architecture: str, tmp_path: Path) -> None:
    loaded, prompt = loaded_from(tmp_path, architecture), tokens_of(0, 130)
    world = World(loaded, PrefixSharing(PrefixCache(1 << 28)))
    expected = logprobs_of(loaded.model, prompt)
    before = world.ask(prompt, max_tokens=4, **GREEDILY)  # stores the prefix
    world.finish()
    names = [world.ask(prompt, max_tokens=4, prompt_logprobs=count, **GREEDILY) for count in (3, 0)]
    world.finish()
    for name, count in zip(names, (3, 0), strict=True):
        started = next(event for event in world.events[name] if isinstance(event, Started))
        found = world.prompt(name)
        assert started.cached_tokens == 0 and [token.id for token in found] == list(prompt)
        assert found[0].logprob is None and found[0].top == ()
        for position, token in enumerate(found[1:], 1):
            row = expected[position - 1]
            assert token.logprob == pytest.approx(row[prompt[position]].item(), abs=1e-3)
            assert [each.logprob for each in token.top] == pytest.approx(mx.sort(row)[::-1][:count].tolist(), abs=1e-3)
            assert all(each.logprob == pytest.approx(row[each.id].item(), abs=1e-3) for each in token.top)
        assert world.answer(name, 0)[:2] == world.answer(before, 0)[:2]
        first = next(place for place, event in enumerate(world.events[name]) if isinstance(event, Delta))
        assert not any(isinstance(event, PromptTokens) for event in world.events[name][first:])


def test_request_without_tokens_ends_after_its_prompt_and_stores_it(tmp_path: Path) -> None:
    loaded, prompt = loaded_from(tmp_path, "llama"), tokens_of(0, 130)
    world = World(loaded, PrefixSharing(PrefixCache(1 << 28)))
    for length in (1, 130):
        name = world.ask(prompt[:length], max_tokens=0, prompt_logprobs=0, choices=2)
        world.finish()
        end = world.events[name][-1]
        assert isinstance(end, Finished) and [ending.reason for ending in end.endings] == ["length", "length"]
        assert end.usage.prompt_tokens == length and end.usage.completion_tokens == 0
        assert len(world.prompt(name)) == length
        assert not any(isinstance(event, Delta) for event in world.events[name])
    again = world.ask(prompt, max_tokens=1)
    world.finish()
    end = world.events[again][-1]
    assert isinstance(end, Finished) and end.usage.cached_tokens > 100


def test_the_token_that_ends_an_answer_is_reported_with_the_prompts_tokens(tmp_path: Path) -> None:
    world, prompt = World(loaded_from(tmp_path, "llama"), PrefixSharing()), tokens_of(0, 20)
    plain = world.ask(prompt, max_tokens=3, **GREEDILY)
    world.finish()
    stop = (world.answer(plain, 0)[0][1],)
    reported = world.ask(prompt, max_tokens=3, stop_tokens=stop, top_logprobs=1, prompt_logprobs=1, **GREEDILY)
    usual = world.ask(prompt, max_tokens=3, stop_tokens=stop, top_logprobs=1, **GREEDILY)
    world.finish()
    assert [entry.id for entry in world.answer(reported, 0)[2]][-1] == stop[0]
    assert len(world.answer(reported, 0)[2]) == len(world.answer(usual, 0)[2]) + 1


def test_text_of_a_prompt_of_token_ids_is_reported(tmp_path: Path) -> None:
    loaded = loaded_from(tmp_path, "llama")
    world = World(loaded, PrefixSharing())
    ids = tuple(loaded.tokenizer.encode("two words", add_special_tokens=False))
    name = world.ask(ids, max_tokens=1, echo=True)
    world.finish()
    (event,) = [event for event in world.events[name] if isinstance(event, PromptTokens)]
    assert event.text == "two words" and event.tokens == ()


def test_memory_for_scores_is_reserved(tmp_path: Path) -> None:
    loaded, prompt = loaded_from(tmp_path, "llama"), tokens_of(0, 200)
    world = World(loaded, PrefixSharing())
    assert world.shape is not None
    room = world.shape.bytes(600)
    world.scheduler.grant(room)
    usual = world.ask(prompt, max_tokens=1)
    scored = world.ask(prompt, max_tokens=1, prompt_logprobs=0)
    world.finish()
    failed = world.events[scored][-1]
    assert isinstance(world.events[usual][-1], Finished)
    assert isinstance(failed, Failed) and failed.error.code == "context_length_exceeded"
    world.scheduler.grant(room + scratch_bytes(200, loaded.vocabulary))
    again = world.ask(prompt, max_tokens=1, prompt_logprobs=0)
    world.finish()
    assert isinstance(world.events[again][-1], Finished)


def test_pieces_whose_logits_are_needed_are_short() -> None:
    scoring, pace = Scoring(1, LARGE_VOCABULARY), Pace(4096)
    pace.measured([(0, 4096)], 0.01, False)  # fast enough for any piece
    row = Row(1, GREEDY)
    row.scoring = scoring
    prompt = PrefillPrompt([row], range(9000), [], 0, 0)
    ((_, count),) = choose_pieces([prompt], pace, False, 0)
    assert count == piece_tokens(LARGE_VOCABULARY) and 4 * LARGE_VOCABULARY * count <= LOGIT_BYTES
    assert scratch_bytes(10**6, LARGE_VOCABULARY) <= 4 * LOGIT_BYTES
    row.scoring = None
    assert choose_pieces([prompt], pace, False, 0) == [(prompt, 4096)]


def test_logits_before_the_first_score_are_not_computed_apart_from_a_few() -> None:
    scoring = Scoring(3000, LARGE_VOCABULARY)
    assert scoring.most(0, FOLDED) == 2999
    assert scoring.most(2999, FOLDED) == scoring.most(2999 - FOLDED, FOLDED) == piece_tokens(LARGE_VOCABULARY)

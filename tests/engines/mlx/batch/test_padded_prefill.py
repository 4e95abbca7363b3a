"""Padded prefill: each prompt has the keys and values of a call of its own."""

import random
from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.models.cache import make_prompt_cache

from lmx_daemon.engines.mlx.batch.batch import Batch
from lmx_daemon.engines.mlx.batch.padded_prefill import WASTE, run, together
from lmx_daemon.engines.mlx.batch.step import Row, StepResult
from lmx_daemon.engines.mlx.load.probe import probe_model
from lmx_daemon.engines.mlx.sampling.parameters import GREEDY
from tests.engines.mlx.batch.test_batch import EVERY, MOST, alone, model_of, tokens_of

LENGTHS = (40, 33, 38, 31)


def test_similar_lengths_share_a_call() -> None:
    assert together([]) == []
    assert together([64, 64, 64]) == [[0, 1, 2]]
    assert together([10, 1000, 11]) == [[1], [2, 0]]


def test_padding_is_bounded() -> None:
    generator = random.Random(1)
    for _ in range(200):
        lengths = [int(2 ** generator.uniform(0, 11)) for _ in range(generator.randrange(1, 20))]
        calls = together(lengths)
        assert sorted(index for call in calls for index in call) == list(range(len(lengths)))
        for call in calls:
            held = max(lengths[index] for index in call) * len(call)
            assert held - sum(lengths[index] for index in call) <= WASTE * held


@pytest.mark.parametrize("architecture", EVERY)
def test_keys_and_values_equal_those_of_the_prompt_alone(architecture: str) -> None:
    model = model_of(architecture)
    if not probe_model(model).pads:
        assert architecture not in ("llama", "qwen2", "qwen3", "qwen3_moe", "deepseek_v3")
        return
    prompts = [tokens_of(seed, length) for seed, length in enumerate(LENGTHS)]
    for prompt, cache in zip(prompts, run(model, prompts), strict=True):
        expected: list[Any] = make_prompt_cache(model)
        model(mx.array([prompt]), cache=expected)
        for part, other in zip(cache, expected, strict=True):
            for one, two in zip(part.keys_and_values(), other.keys_and_values(), strict=True):
                assert one.shape == two.shape and mx.allclose(one, two, atol=1e-5).item()


def calls_of(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Return a list that records the shape of the tokens in each further prefill call of the model."""
    shapes: list[tuple[int, ...]] = []
    model = batch._model

    class Counting:
        def __call__(self, tokens: mx.array, **options: Any) -> Any:
            shapes.append(tokens.shape)
            return model(tokens, **options)

        def __getattr__(self, name: str) -> Any:
            return getattr(model, name)

    monkeypatch.setattr(batch._prompts, "_model", Counting())
    return shapes


def generate(batch: Batch, steps: list[StepResult] | None = None) -> dict[Row, list[int]]:
    generated: dict[Row, list[int]] = {}
    while batch.busy:
        step = batch.step()
        if steps is not None:
            steps.append(step)
        for token in step.tokens:
            generated.setdefault(token.row, []).append(token.token)
    return generated


def test_prompts_that_arrive_together_share_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Batch(model_of("llama"), set(), prefill_step=4096)
    shapes = calls_of(batch, monkeypatch)
    batch.pace.measured([(0, 4000)], 1.0, False)
    prompts = {batch.add(prompt, [Row(MOST, GREEDY)])[0]: prompt for prompt in (tokens_of(n, 40 - n) for n in range(4))}
    generated = generate(batch)
    assert shapes == [(4, 39)]
    assert generated == {row: alone("llama", prompt) for row, prompt in prompts.items()}


def test_prompt_that_raises_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Batch(model_of("llama"), set(), prefill_step=4096)
    batch.pace.measured([(0, 4000)], 1.0, False)
    model = batch._model

    class Fragile:
        def __call__(self, tokens: mx.array, **options: Any) -> Any:
            if (tokens == 499).any().item():
                raise ValueError("not this one")
            return model(tokens, **options)

        def __getattr__(self, name: str) -> Any:
            return getattr(model, name)

    monkeypatch.setattr(batch._prompts, "_model", Fragile())
    prompts = [tokens_of(0, 20), (*tokens_of(1, 10), 499, 5, 5), tokens_of(2, 20)]
    rows = [batch.add(prompt, [Row(MOST, GREEDY)])[0] for prompt in prompts]
    steps: list[StepResult] = []
    generated = generate(batch, steps)
    assert [failed.rows for step in steps for failed in step.failed] == [(rows[1],)]
    assert generated == {rows[0]: alone("llama", prompts[0]), rows[2]: alone("llama", prompts[2])}


@pytest.mark.parametrize("architecture", EVERY)
def test_single_prompt_has_its_first_token_after_one_call(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Batch(model_of(architecture), set(), prefill_step=4096)
    shapes = calls_of(batch, monkeypatch)
    (row,) = batch.add(tokens_of(1, 40), [Row(MOST, GREEDY)])
    first = batch.step()
    while not first.tokens:
        first = batch.step()
    assert sum(shape[1] for shape in shapes) == 40 and shapes[-1][1] > 1
    assert [token.token for token in first.tokens] == alone(architecture, tokens_of(1, 40))[:1]
    batch.add(tokens_of(2, 9), [Row(MOST, GREEDY)])  # it joins while the other row decodes
    generated = generate(batch)
    assert [first.tokens[0].token, *generated[row]] == alone(architecture, tokens_of(1, 40))

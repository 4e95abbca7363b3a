"""The sampler, by MLX and by numpy: filters on known distributions, random numbers, penalties, log-probabilities."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from lmx_daemon.engines.mlx.sampling.draw import Filters, bases, chances, draw
from lmx_daemon.engines.mlx.sampling.parameters import SamplingParams
from lmx_daemon.engines.mlx.sampling.processors import SampledRow, TokenCounts
from lmx_daemon.engines.mlx.sampling.sampler import Sampler

PROBABILITIES = np.array([0.25, 0.5, 0.03, 0.15, 0.07], np.float32)


@pytest.fixture(params=["mlx", "numpy"])
def xp(request: pytest.FixtureRequest) -> Any:
    return mx if request.param == "mlx" else np


def drawn(xp: Any, probabilities: Any, rows: Sequence[SamplingParams], chance: Any) -> list[int]:
    logits = np.log(np.asarray(probabilities, np.float32))
    logits = np.broadcast_to(logits, (len(rows), logits.shape[-1])).copy()
    found: Any = draw(xp, xp.array(logits), xp.array(np.asarray(chance, np.float32)), Filters(rows, logits.shape[-1]))
    return [int(index) for index in found]


def accepted(xp: Any, **changes: float) -> list[int]:
    """Return the tokens that any random number can draw."""
    resolved = SamplingParams(**({"temperature": 1.0} | changes))
    chance = np.linspace(0.0005, 0.9995, 1000)
    return sorted(set(drawn(xp, PROBABILITIES, [resolved] * 1000, chance)))


def test_filters_accept_the_expected_tokens(xp: Any) -> None:
    assert accepted(xp) == [0, 1, 2, 3, 4]
    assert accepted(xp, top_k=2) == [0, 1]
    assert accepted(xp, top_k=99) == [0, 1, 2, 3, 4]
    assert accepted(xp, top_p=0.5) == [1]
    assert accepted(xp, top_p=0.6) == [0, 1]
    assert accepted(xp, top_p=0.0) == [1]
    assert accepted(xp, min_p=0.2) == [0, 1, 3]
    assert accepted(xp, min_p=1.0) == [1]
    assert accepted(xp, top_k=3, top_p=0.7, min_p=0.9) == [1]


def test_draws_follow_the_distribution(xp: Any) -> None:
    chance = (np.arange(20_000) + 0.5) / 20_000
    for temperature in (0.5, 1.0, 2.0):
        counts = Counter(drawn(xp, PROBABILITIES, [SamplingParams(temperature=temperature)] * 20_000, chance))
        expected = PROBABILITIES ** (1 / temperature)
        expected /= expected.sum()
        for token in range(5):
            assert counts[token] / 20_000 == pytest.approx(expected[token], abs=2e-4)


def test_row_draws_the_same_token_beside_any_other_rows(xp: Any) -> None:
    rng = np.random.default_rng(1)
    probabilities = rng.dirichlet(np.full(700, 0.1), 1)[0] + 1e-9
    mine = SamplingParams(temperature=0.8, top_p=0.9)
    others = [
        SamplingParams(temperature=1.5, top_k=300),
        SamplingParams(temperature=0.6, top_p=0.3, top_k=20, min_p=0.1),
        SamplingParams(temperature=1.0),
    ]
    for chance in (0.1, 0.5, 0.9, 0.999999):
        (alone,) = drawn(xp, probabilities, [mine], [chance])
        for count in range(4):
            beside = drawn(xp, probabilities, [*others[:count], mine], [*[0.4] * count, chance])
            assert beside[-1] == alone


@pytest.mark.parametrize("chance", [1e-8, 0.5, 1 - 2**-22])
def test_impossible_tokens_are_never_drawn_at_the_extremes(xp: Any, chance: float) -> None:
    probabilities = np.full(5000, 1e-30, np.float32)
    probabilities[4999] = 0.0
    probabilities[17] = 1.0
    with np.errstate(divide="ignore"):
        assert (
            drawn(xp, probabilities, [SamplingParams(temperature=1e-4), SamplingParams(temperature=2.0)], [chance] * 2)[
                0
            ]
            == 17
        )
        assert drawn(xp, [1.0, *[0.0] * 8], [SamplingParams(temperature=2.0)], [chance]) == [0]


def test_random_numbers_are_uniform_and_independent() -> None:
    starts = bases([(seed, choice) for seed in (0, 1, 2**63 - 1) for choice in (0, 1)])
    table = np.stack([chances(starts, [position] * 6) for position in range(4000)])
    assert table.min() > 0 and table.max() < 1
    assert np.allclose(table.mean(axis=0), 0.5, atol=0.03) and np.allclose(table.std(axis=0), 12**-0.5, atol=0.02)
    assert np.abs(np.corrcoef(table, rowvar=False) - np.eye(6)).max() < 0.06
    assert (chances(starts, [3] * 6) == chances(starts, [3] * 6)).all()


def choose(sampling: list[SamplingParams], logits: Any, prompt: Sequence[int] = (), steps: int = 1) -> list[list[int]]:
    """Return the tokens of each of `steps` steps from the same logits."""
    vocabulary = logits.shape[-1]
    counts = [TokenCounts(prompt, vocabulary) if params.penalised else None for params in sampling]
    rows = [SampledRow(*pair) for pair in zip(sampling, counts, strict=True)]
    sampler = Sampler(rows, vocabulary)
    return [sampler.sample(mx.array(logits), [step] * len(sampling)).read()[0] for step in range(steps)]


def test_penalties_and_bias_apply_to_their_own_row() -> None:
    logits = np.tile(np.array([3.0, 2.9, 2.8, -1.0], np.float32), (5, 1))
    sampling = [
        SamplingParams(),
        SamplingParams(presence_penalty=0.15),
        SamplingParams(frequency_penalty=0.15),
        SamplingParams(repetition_penalty=1.2),
        SamplingParams(bias={3: 100.0}),
    ]
    steps = choose(sampling, logits, prompt=[0], steps=4)
    assert [row[0] for row in steps] == [0, 0, 0, 0]
    assert [row[1] for row in steps] == [0, 1, 0, 0]  # token 2 loses by 0.05
    assert [row[2] for row in steps] == [0, 1, 0, 2]
    assert [row[3] for row in steps] == [1, 2, 0, 0]  # the prompt's token is penalised too
    assert [row[4] for row in steps] == [3, 3, 3, 3]


def test_token_counts_survive_a_change_of_rows() -> None:
    logits = np.array([[3.0, 2.9, 2.8, -1.0]], np.float32)
    row = SampledRow(SamplingParams(presence_penalty=1.0), TokenCounts([], 4))
    first = Sampler([row], 4).sample(mx.array(logits), [0]).read()[0]
    both = Sampler([SampledRow(SamplingParams()), row], 4).sample(mx.array(np.tile(logits, (2, 1))), [5, 1])
    assert first == [0] and both.read()[0] == [0, 1]


def test_log_probabilities_are_reported_for_the_rows_that_asked() -> None:
    logits = np.log(np.stack([PROBABILITIES, np.roll(PROBABILITIES, 1), np.roll(PROBABILITIES, 2)]))
    sampling = [
        SamplingParams(top_logprobs=2),
        SamplingParams(temperature=1.0, seed=4),
        SamplingParams(top_logprobs=0),
    ]
    sampler = Sampler([SampledRow(params) for params in sampling], 5)
    tokens, found = sampler.sample(mx.array(logits), [0] * 3).read()
    assert set(found) == {0, 2} and tokens[0] == 1 and tokens[2] == 3
    assert found[0].chosen == pytest.approx(np.log(0.5), abs=1e-5)
    assert [token for token, _ in found[0].top] == [1, 0]
    assert [value for _, value in found[0].top] == pytest.approx(np.log([0.5, 0.25]), abs=1e-5)
    assert found[2].chosen == pytest.approx(np.log(0.5), abs=1e-5)


def test_device_and_host_draw_the_same_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(6, 300)).astype(np.float32) * 3
    sampling = [SamplingParams(temperature=0.7, top_p=0.9, min_p=0.02 * n, top_k=40 * n, seed=n) for n in range(5)]
    sampling.append(SamplingParams())
    host = choose(sampling, logits, steps=5)
    monkeypatch.setattr("lmx_daemon.engines.mlx.platform.on_cpu", lambda: False)
    assert choose(sampling, logits, steps=5) == host

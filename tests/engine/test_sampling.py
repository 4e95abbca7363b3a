"""Filters and defaults of sampling, on small known distributions."""

import mlx.core as mx
import pytest

from lmx_daemon.contract.errors import RequestError
from lmx_daemon.contract.generation import Sampling
from lmx_daemon.engine.sampling import Resolved, check, filtered, resolve, sampler_for

LOGPROBS = mx.log(mx.array([[0.5, 0.25, 0.15, 0.07, 0.03]]))


def kept(**changes: float) -> list[int]:
    values = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0} | changes
    row = filtered(LOGPROBS, Resolved(**values))[0].tolist()  # type: ignore[arg-type]
    assert isinstance(row, list)
    return [index for index, value in enumerate(row) if value != float("-inf")]


def test_filters() -> None:
    assert kept() == [0, 1, 2, 3, 4]
    assert kept(top_k=2) == [0, 1]
    assert kept(top_p=0.5) == [0]
    assert kept(top_p=0.6) == [0, 1]
    assert kept(top_p=0.0) == [0]
    assert kept(min_p=0.2) == [0, 1, 2]
    assert kept(top_k=3, top_p=0.7, min_p=0.9) == [0]


def test_a_seed_draws_the_same_and_choices_differ() -> None:
    plain = Resolved(1.0, 1.0, 0, 0.0, 1.0)
    flat = mx.zeros((1, 1000))

    def draw(seed: int, choice: int) -> list[int]:
        sampler = sampler_for(plain, seed, choice)
        return [int(sampler(flat).item()) for _ in range(8)]

    assert draw(5, 0) == draw(5, 0)
    assert draw(5, 0) != draw(6, 0)
    assert draw(5, 0) != draw(5, 1)


def test_defaults_come_from_the_model_then_are_neutral() -> None:
    model = {"temperature": 0.6, "top_k": 20, "top_p": "garbage"}
    assert resolve(Sampling(), model) == Resolved(0.6, 1.0, 20, 0.0, 1.0)
    assert resolve(Sampling(temperature=0.0), model).temperature == 0.0
    assert resolve(Sampling(), {"do_sample": False}).temperature == 0.0
    assert resolve(Sampling(), {}).temperature == 1.0


def test_a_bias_beyond_the_vocabulary_is_refused() -> None:
    with pytest.raises(RequestError, match="token 9"):
        check(Sampling(logit_bias={9: 1.0}), 9)

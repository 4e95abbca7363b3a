"""Sampling parameters: defaults and refusals."""

import pytest

from lmx_daemon.contract.errors import RequestError
from lmx_daemon.contract.generation.requests import Generate, Sampling, Text
from lmx_daemon.engines.mlx.sampling.parameters import SamplingParams, check, resolve


def test_defaults_come_from_the_model_and_are_neutral_otherwise() -> None:
    model = {"temperature": 0.6, "top_k": 20, "top_p": "garbage"}
    assert resolve(Sampling(), model) == SamplingParams(0.6, 1.0, 20, 0.0, 1.0)
    assert resolve(Sampling(temperature=0.0), model).greedy
    assert resolve(Sampling(), {"do_sample": False}).greedy
    assert resolve(Sampling(), {}).temperature == 1.0


@pytest.mark.parametrize(
    "absurd", [float("inf"), float("nan"), -float("inf"), 10**400], ids=["inf", "nan", "-inf", "huge"]
)
def test_meaningless_default_is_ignored(absurd: float) -> None:
    assert resolve(Sampling(), {"temperature": absurd, "top_k": absurd, "min_p": absurd}) == resolve(Sampling(), {})


def test_tiny_temperature_is_greedy() -> None:
    assert resolve(Sampling(temperature=1e-300), {}).greedy


def request(**fields: object) -> Generate:
    return Generate(id="r", model="m", prompt=Text(text="x"), **fields)


def test_refusal_names_the_field() -> None:
    with pytest.raises(RequestError, match="token 9") as bias:
        check(request(sampling=Sampling(logit_bias={9: 1.0})), 9)
    assert bias.value.param == "logit_bias"
    with pytest.raises(RequestError, match="64 strings, not 1000000") as stops:
        check(request(stop=("x",) * 1_000_000), 9)
    assert stops.value.param == "stop"
    with pytest.raises(RequestError, match="characters"):
        check(request(stop=("x" * 5000,)), 9)
    check(request(stop=("x",), sampling=Sampling(logit_bias={8: 1.0})), 9)

"""Defaults and refusals of what a request asks of sampling."""

import pytest

from lmx_daemon.contract.errors import RequestError
from lmx_daemon.contract.generation import Generate, Sampling, Text
from lmx_daemon.engines.mlx.sampling.parameters import SamplingParams, check, resolve


def test_defaults_come_from_the_model_then_are_neutral() -> None:
    model = {"temperature": 0.6, "top_k": 20, "top_p": "garbage"}
    assert resolve(Sampling(), model) == SamplingParams(0.6, 1.0, 20, 0.0, 1.0)
    assert resolve(Sampling(temperature=0.0), model).greedy
    assert resolve(Sampling(), {"do_sample": False}).greedy
    assert resolve(Sampling(), {}).temperature == 1.0


@pytest.mark.parametrize(
    "absurd", [float("inf"), float("nan"), -float("inf"), 10**400], ids=["inf", "nan", "-inf", "huge"]
)
def test_a_default_that_means_nothing_is_none(absurd: float) -> None:
    assert resolve(Sampling(), {"temperature": absurd, "top_k": absurd, "min_p": absurd}) == resolve(Sampling(), {})


def test_a_temperature_that_divides_by_nothing_is_greedy() -> None:
    assert resolve(Sampling(temperature=1e-300), {}).greedy


def request(**fields: object) -> Generate:
    return Generate(id="r", model="m", prompt=Text(text="x"), **fields)


def test_what_means_nothing_is_refused_by_name() -> None:
    with pytest.raises(RequestError, match="token 9") as bias:
        check(request(sampling=Sampling(logit_bias={9: 1.0})), 9)
    assert bias.value.param == "logit_bias"
    with pytest.raises(RequestError, match="64 strings, not 1000000") as stops:
        check(request(stop=("x",) * 1_000_000), 9)
    assert stops.value.param == "stop"
    with pytest.raises(RequestError, match="characters"):
        check(request(stop=("x" * 5000,)), 9)
    check(request(stop=("x",), sampling=Sampling(logit_bias={8: 1.0})), 9)

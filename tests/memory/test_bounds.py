"""Tests of the bounds of config numbers: excessive ones are reported, those of real models pass."""

from typing import Any

import pytest

from lmx_daemon.memory.bounds import absurd

LARGEST: dict[str, Any] = {
    "num_hidden_layers": 126, "hidden_size": 16_384, "intermediate_size": 53_248, "num_attention_heads": 128,
    "num_key_value_heads": 8, "vocab_size": 300_000, "n_routed_experts": 384, "head_dim": 512, "num_experts": None,
}  # fmt: skip


@pytest.mark.parametrize("config", [{}, LARGEST, {"text_config": LARGEST}, {"intermediate_size": [8192.0] * 30}])
def test_configs_of_real_models_pass(config: dict[str, Any]) -> None:
    assert absurd(config) is None


@pytest.mark.parametrize(
    "config",
    [
        {"num_hidden_layers": 1_000_000},
        {"text_config": {"num_hidden_layers": 1e6}},
        {"hidden_size": 10**300},
        {"vocab_size": "many\nlines"},
        {"num_key_value_heads": [1] * 5000},
        {"head_dim": -1},
        {"num_experts": float("nan")},
        {"hidden_size": [[1]]},
        {"hidden_size": 0},
        {"hidden_size": 64.5},
        {"hidden_size": {}},
        {"model_type": []},
        {"text_config": []},
        {"rope_scaling": {"factor": [1.0, float("nan")]}},
    ],
)
def test_an_impossible_value_is_reported_in_one_line(config: dict[str, Any]) -> None:
    problem = absurd(config)
    assert problem is not None and "config.json" in problem and "\n" not in problem and len(problem) < 200


@pytest.mark.parametrize(
    ("config", "line"),
    [
        ({"intermediate_size": []}, None),
        ({"num_hidden_layers": []}, "config.json: num_hidden_layers must be an integer from 1 to 1024, not []"),
        ({"num_hidden_layers": "2"}, 'config.json: num_hidden_layers must be an integer from 1 to 1024, not "2"'),
        ({"text_config": {"vocab_size": -1}}, "config.json: text_config.vocab_size must be an integer from 1 to"),
        ({"llm_config": "x"}, 'config.json: llm_config must be an object, not "x"'),
        ({"a": {"b": float("nan")}}, "config.json: a.b must be a number, not NaN"),
        ({"time_step_limit": [0.0, float("inf")]}, None),
    ],
)
def test_the_line_names_the_key_and_what_is_expected(config: dict[str, Any], line: str | None) -> None:
    found = absurd(config)
    assert found is None if line is None else (found or "").startswith(line)

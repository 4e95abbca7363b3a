"""Tests of computed cache sizes against the caches of mlx-lm, byte for byte."""

import importlib
from typing import Any

import pytest

from lmx_daemon.contract.worker.cache_shape import CACHE_BLOCK, CacheShape, Growing
from lmx_daemon.memory.architectures import cache_shape
from tests.models import ARCHITECTURES, MIXTURE, SMALL

LATENT = ARCHITECTURES["deepseek_v3"]
STATE: dict[str, Any] = {"n_heads": 4, "d_head": 16, "d_state": 8, "n_groups": 2, "d_conv": 4}
MORE: dict[str, dict[str, Any]] = {
    "gemma2": SMALL | {"query_pre_attn_scalar": 16, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
    "cohere2": SMALL | {"num_hidden_layers": 5, "sliding_window": 64, "layer_norm_bias": False, "logit_scale": 0.1},
    "olmo3": SMALL | {"num_hidden_layers": 5, "sliding_window": 64, "rope_scaling": None, "attention_bias": False},
    "glm4_moe_lite": LATENT | {"topk_method": "noaux_tc", "num_hidden_layers": 3},
    "deepseek_v2": LATENT
    | {"topk_method": "greedy", "moe_layer_freq": 1, "rope_scaling": {"type": "yarn", "factor": 1}},
    "qwen3_next": SMALL
    | MIXTURE
    | {
        "num_hidden_layers": 5,
        "linear_num_value_heads": 4,
        "linear_num_key_heads": 2,
        "linear_key_head_dim": 32,
        "linear_value_head_dim": 16,
        "linear_conv_kernel_dim": 4,
        "shared_expert_intermediate_size": 32,
        "partial_rotary_factor": 0.5,
    },
    "lfm2": SMALL
    | {
        "num_hidden_layers": 3,
        "norm_eps": 1e-6,
        "conv_bias": False,
        "conv_L_cache": 3,
        "block_dim": 64,
        "block_multiple_of": 8,
        "block_ffn_dim_multiplier": 1.0,
        "block_auto_adjust_ff_dim": False,
        "layer_types": ["conv", "full_attention", "conv"],
    },
    "mamba2": {
        "num_heads": 8,
        "head_dim": 16,
        "vocab_size": 512,
        "hidden_size": 64,
        "intermediate_size": 128,
        "state_size": 8,
        "num_hidden_layers": 2,
        "layer_norm_epsilon": 1e-6,
        "conv_kernel": 4,
        "n_groups": 2,
        "use_bias": False,
        "use_conv_bias": True,
        "tie_word_embeddings": True,
        "time_step_limit": [0.0, 100.0],
        "time_step_rank": "auto",
    },
    "jamba": SMALL
    | {
        "num_hidden_layers": 4,
        "attn_layer_offset": 1,
        "attn_layer_period": 2,
        "expert_layer_offset": 1,
        "expert_layer_period": 2,
        "mamba_d_conv": 4,
        "mamba_d_state": 8,
        "mamba_expand": 2,
        "num_experts": 1,
        "num_experts_per_tok": 1,
    },
    "granitemoehybrid": SMALL
    | {f"mamba_{name}": value for name, value in STATE.items()}
    | {
        "num_hidden_layers": 3,
        "attention_bias": False,
        "embedding_multiplier": 1.0,
        "attention_multiplier": 1.0,
        "logits_scaling": 1.0,
        "residual_multiplier": 1.0,
        "layer_types": ["mamba", "attention", "mamba"],
        "mamba_proj_bias": False,
        "mamba_conv_bias": True,
    },
    "falcon_h1": SMALL
    | {f"mamba_{name}": value for name, value in STATE.items()}
    | {"mamba_d_ssm": 64, "tie_word_embeddings": True},
    "gemma4_text": SMALL
    | {
        "num_hidden_layers": 6,
        "global_head_dim": 32,
        "sliding_window": 64,
        "sliding_window_pattern": 3,
        "num_kv_shared_layers": 3,
        "hidden_size_per_layer_input": 16,
        "vocab_size_per_layer_input": 512,
    },
    "exaone4": SMALL
    | {"num_hidden_layers": 5, "sliding_window": 64, "sliding_window_pattern": "LLLG", "rope_scaling": None},
}


LONGER = [(architecture, 1024) for architecture in ("llama", "gemma3_text", "gpt_oss", "deepseek_v3", "gemma4_text")]


@pytest.mark.parametrize(("architecture", "length"), [(name, 300) for name in [*ARCHITECTURES, *MORE]] + LONGER)
def test_the_computed_size_equals_that_of_the_real_cache(architecture: str, length: int) -> None:
    import mlx.core as mx
    from mlx_lm.models.cache import make_prompt_cache

    from lmx_daemon.engines.mlx.load.probe import measure_cache

    config = {"model_type": architecture} | (ARCHITECTURES | MORE)[architecture]
    module = importlib.import_module(f"mlx_lm.models.{architecture}")
    model = module.Model(module.ModelArgs.from_dict(dict(config)))
    cache = make_prompt_cache(model)
    mx.eval(model(mx.zeros((1, length - 1), mx.int32), cache=cache))
    mx.eval(model(mx.zeros((1, 1), mx.int32), cache=cache))  # a window is cut at the first token after the prompt
    shape = cache_shape(config, 4)
    assert shape is not None and shape.basis == "computed"
    assert shape.bytes(length) == sum(part.nbytes for part in cache)
    measured = measure_cache(model)
    assert measured is not None and measured.fixed == shape.fixed
    assert set(measured.growing) == set(shape.growing)


def test_the_language_model_of_a_multimodal_config_is_used() -> None:
    inner = {"model_type": "gemma3_text", "num_hidden_layers": 34, "hidden_size": 2560, "sliding_window": 1024}
    shape = cache_shape({"model_type": "gemma3", "text_config": inner}, 2)
    assert shape is not None and shape.basis == "computed"
    assert {part.window: part.per_token for part in shape.growing} == {None: 5 * 4096, 1024: 29 * 4096}


def test_an_unknown_architecture_gives_an_estimate() -> None:
    shape = cache_shape(SMALL | {"model_type": "brand_new"}, 2)
    assert shape is not None and shape.basis == "estimated"


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"model_type": "llama"},
        {"model_type": "llama", "num_hidden_layers": 10**9, "num_attention_heads": 1, "head_dim": 1},
        {"model_type": "llama", "num_hidden_layers": -1, "num_attention_heads": 0, "hidden_size": "x"},
        {"model_type": ["llama"], "text_config": {"num_attention_heads": None}},
        {"model_type": "qwen3_next", "text_config": 7},
        {"model_type": "lfm2", "num_hidden_layers": 2, "full_attn_idxs": [[]], "hidden_size": 8, "conv_L_cache": 3},
    ],
)
def test_an_invalid_config_gives_none(config: dict[str, Any]) -> None:
    assert cache_shape(config, 2) is None


def test_the_longest_sequence_that_fits_is_found() -> None:
    shape = CacheShape(fixed=1000, growing=(Growing(per_token=10), Growing(per_token=100, window=512)))
    room = shape.bytes(4096)
    assert shape.tokens(room, 100_000) == 4096
    assert shape.tokens(room - 1, 100_000) == 4096 - CACHE_BLOCK
    assert shape.tokens(room, 700) == 700
    assert shape.tokens(900, 700) == 0
    assert CacheShape(fixed=1000).tokens(1000, 5000) == 5000

"""Upper bounds of the numbers in a config.json. A model that exceeds one is refused before memory is planned. Pure."""

from collections.abc import Mapping
from typing import Any

from lmx_daemon.memory.architectures import language_part
from lmx_daemon.memory.layer_caches import MAX_LAYERS

MAX_WIDTH = 2**18
MAX_INNER = 2**20
MAX_HEADS = 2**12
MAX_HEAD_WIDTH = 2**14
MAX_EXPERTS = 2**16
MAX_VOCABULARY = 2**24
SHOWN_CHARACTERS = 40
MOST: Mapping[str, int] = {
    **dict.fromkeys(
        ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_transformer_layers", "num_decoder_layers"),
        MAX_LAYERS,
    ),
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "kv_lora_rank", "q_lora_rank"), MAX_WIDTH),
    **dict.fromkeys(("intermediate_size", "n_inner", "moe_intermediate_size", "d_inner"), MAX_INNER),
    **dict.fromkeys(
        ("num_attention_heads", "n_head", "n_heads", "num_key_value_heads", "n_kv_heads", "num_kv_heads", "n_head_kv",
         "mamba_n_heads", "linear_num_key_heads", "linear_num_value_heads"),
        MAX_HEADS,
    ),
    **dict.fromkeys(
        ("head_dim", "v_head_dim", "qk_nope_head_dim", "qk_rope_head_dim", "linear_key_head_dim",
         "linear_value_head_dim", "state_size", "ssm_state_size", "mamba_d_state"),
        MAX_HEAD_WIDTH,
    ),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "n_shared_experts"), MAX_EXPERTS),
    "vocab_size": MAX_VOCABULARY,
}  # fmt: skip
"""Upper bound for each key: about ten times the value of the largest models."""


def absurd(config: Mapping[str, Any]) -> str | None:
    """Return a line about the first number of the config that exceeds its bound, or None if there is none."""
    for part in (config, language_part(config)[1]):
        for name, most in MOST.items():
            if not _fits(value := part.get(name), most):
                return f"{name} in config.json is {repr(value)[:SHOWN_CHARACTERS]}; at most {most} makes sense"
    return None


def _fits(value: Any, most: int) -> bool:
    """Return whether a value is absent, a number up to `most`, or a list of such numbers for the layers."""
    if isinstance(value, list):
        return len(value) <= MAX_LAYERS and all(not isinstance(one, list) and _fits(one, most) for one in value)
    if value is None or isinstance(value, bool):
        return True
    return isinstance(value, int | float) and 0 <= value <= most

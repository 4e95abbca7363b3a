"""Ranges of the numbers in a config.json. A model with a number outside is refused before memory is planned. Pure."""

import json
import math
from collections.abc import Mapping
from typing import Any

from lmx_daemon.memory.layer_caches import MAX_LAYERS

MAX_WIDTH = 2**18
MAX_INNER = 2**20
MAX_HEADS = 2**12
MAX_HEAD_WIDTH = 2**14
MAX_EXPERTS = 2**16
MAX_VOCABULARY = 2**24
SHOWN_CHARACTERS = 40
NESTED = ("text_config", "language_config", "llm_config")
"""Keys under which a multimodal config holds that of its language model."""
RANGES: Mapping[str, tuple[int, int]] = {
    **dict.fromkeys(
        ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_transformer_layers", "num_decoder_layers"),
        (1, MAX_LAYERS),
    ),
    **dict.fromkeys(("hidden_size", "n_embd", "d_model"), (1, MAX_WIDTH)),
    **dict.fromkeys(("kv_lora_rank", "q_lora_rank"), (0, MAX_WIDTH)),
    **dict.fromkeys(("intermediate_size", "n_inner", "moe_intermediate_size", "d_inner"), (0, MAX_INNER)),
    **dict.fromkeys(
        ("num_attention_heads", "n_head", "n_heads", "num_key_value_heads", "n_kv_heads", "num_kv_heads", "n_head_kv",
         "mamba_n_heads", "linear_num_key_heads", "linear_num_value_heads"),
        (0, MAX_HEADS),
    ),
    **dict.fromkeys(
        ("head_dim", "v_head_dim", "qk_nope_head_dim", "qk_rope_head_dim", "linear_key_head_dim",
         "linear_value_head_dim", "state_size", "ssm_state_size", "mamba_d_state"),
        (0, MAX_HEAD_WIDTH),
    ),
    **dict.fromkeys(
        ("num_experts", "num_local_experts", "n_routed_experts", "n_shared_experts"), (0, MAX_EXPERTS)
    ),
    "vocab_size": (1, MAX_VOCABULARY),
}  # fmt: skip
"""Smallest and largest value for each key. The largest is about ten times that of the largest models.

A key whose smallest value is 1 has one value for the whole model; the others may have a list with one for each layer.
"""


def absurd(config: Mapping[str, Any]) -> str | None:
    """Return a line about the first key of the config whose value no model can have, or None if there is none."""
    parts = {"": config}
    for name in NESTED:
        inner = config.get(name)
        if isinstance(inner, Mapping):
            parts[f"{name}."] = inner
        elif inner is not None:
            return wrong_value(name, "an object", inner)
    for prefix, part in parts.items():
        if (kind := part.get("model_type")) is not None and not isinstance(kind, str):
            return wrong_value(f"{prefix}model_type", "a string", kind)
        for name, (least, most) in RANGES.items():
            if not _fits(value := part.get(name), least, most):
                return wrong_value(f"{prefix}{name}", f"an integer from {least} to {most}", value)
    return _without_a_number(config)


def wrong_value(name: str, expected: str, value: Any) -> str:
    """Return the line about a key of config.json whose value is not what it must be."""
    shown = json.dumps(value)
    shown = shown if len(shown) <= SHOWN_CHARACTERS else f"{shown[:SHOWN_CHARACTERS]}..."
    return f"config.json: {name[:100]} must be {expected}, not {shown}"


def _fits(value: Any, least: int, most: int) -> bool:
    """Return whether a value is absent or a number in the range.

    Where 0 is in the range, it may also be a list of such numbers for the layers.
    """
    if isinstance(value, list):
        fit = len(value) <= MAX_LAYERS and all(not isinstance(one, list) and _fits(one, 0, most) for one in value)
        return least == 0 and fit
    if value is None or isinstance(value, bool):
        return True
    return isinstance(value, int | float) and least <= value <= most and value == int(value)


def _without_a_number(config: Mapping[str, Any]) -> str | None:
    """Return a line about the first NaN of the config, at any depth. JSON has none, but Python's decoder accepts it."""
    pending: list[tuple[str, Any]] = [("", config)]
    while pending:
        name, value = pending.pop()
        if isinstance(value, float) and math.isnan(value):
            return wrong_value(name, "a number", value)
        if isinstance(value, Mapping):
            pending += [(f"{name}.{key}" if name else str(key), held) for key, held in value.items()]
        elif isinstance(value, list):
            pending += [(name, held) for held in value if isinstance(held, float | list | Mapping)]
    return None

"""The cache size of one sequence, computed from config.json: the rule of layer_caches.py for each architecture.

Names of architectures are those of mlx-lm, and a rule describes the caches of mlx-lm. Pure; no files and no MLX.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from lmx_daemon.contract.worker.cache_shape import CacheShape, Growing
from lmx_daemon.memory import layer_caches
from lmx_daemon.memory.layer_caches import ModelConfig, Rule

FLOAT32 = 4


def cache_shape(config: Mapping[str, Any], element: int) -> CacheShape | None:
    """Return the cache size with `element` bytes per number, or None if the config is incomplete."""
    name, text = language_part(config)
    rule = RULES.get(name, layer_caches.same(layer_caches.attention))
    try:
        kept = rule(ModelConfig(text))
    except (KeyError, TypeError, ValueError, ZeroDivisionError, IndexError):
        return None
    growing: Counter[int | None] = Counter()
    for layer in kept:
        growing[layer.window] += layer.per_token * element
    return CacheShape(
        fixed=sum(layer.fixed * element + layer.floats * FLOAT32 for layer in kept),
        growing=tuple(Growing(per_token=size, window=window) for window, size in growing.items() if size),
        basis="computed" if name in RULES or name in PLAIN else "estimated",
    )


def language_part(config: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return the architecture of the contained language model, by its name in mlx-lm, and its config."""
    for name in ("text_config", "language_config", "llm_config"):
        if isinstance(inner := config.get(name), Mapping):
            outer = str(config.get("model_type", ""))
            kind = WRAPPED.get(outer) or str(inner.get("model_type") or outer)
            shared = {key: value for key, value in config.items() if not isinstance(value, Mapping)}
            return RENAMED.get(kind, kind), {**shared, **WRAPPED_DEFAULTS.get(outer, {}), **inner}
    kind = str(config.get("model_type", ""))
    return RENAMED.get(kind, kind), config


# fmt: off
PLAIN = frozenset((
    "apertus", "cohere", "dbrx", "deepseek", "dots1", "ernie4_5", "ernie4_5_moe", "exaone", "gemma", "gemma2",
    "glm", "glm4", "glm4_moe", "granite", "granitemoe", "helium", "hunyuan", "hunyuan_v1_dense", "internlm2",
    "internlm3", "Klear", "mimo", "minicpm", "minimax", "mixtral", "nemotron", "olmo", "olmo2", "olmoe", "phi",
    "phi3", "phimoe", "qwen", "qwen2", "qwen2_moe", "qwen2_vl", "qwen3", "qwen3_moe", "qwen3_vl",
    "qwen3_vl_moe", "seed_oss", "smollm3", "solar_open", "stablelm", "starcoder2", "telechat3",
))
# fmt: on
"""Architectures of mlx-lm in which every layer keeps keys and values of all tokens."""

RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("llama", "ministral3", "laguna", "mellum", "afmoe"), layer_caches.by_layer_types),
    **dict.fromkeys(("deepseek_v3", "glm4_moe_lite", "mistral4", "kimi_k25"), layer_caches.same(layer_caches.latent)),
    **dict.fromkeys(("deepseek_v2", "minicpm3"), layer_caches.same(layer_caches.expanded_latent)),
    **dict.fromkeys(("deepseek_v32", "glm_moe_dsa"), layer_caches.same(layer_caches.indexed_latent)),
    **dict.fromkeys(("qwen3_next", "qwen3_5", "qwen3_5_moe"), layer_caches.gated_delta),
    **dict.fromkeys(("lfm2", "lfm2_moe"), layer_caches.lfm2),
    "gpt_oss": layer_caches.alternating,
    "gemma3_text": layer_caches.gemma3,
    "gemma3n": layer_caches.gemma3n,
    "gemma4_text": layer_caches.gemma4,
    "cohere2": layer_caches.every(4),
    "olmo3": lambda config: (
        layer_caches.by_layer_types(config) if config.list("layer_types") else layer_caches.every(4)(config)
    ),
    "exaone4": layer_caches.exaone4,
    "kimi_linear": layer_caches.kimi_linear,
    "mamba": layer_caches.same(layer_caches.mamba),
    "mamba2": layer_caches.same(layer_caches.plain_mamba2),
    "jamba": layer_caches.jamba,
    "granitemoehybrid": layer_caches.granite_hybrid,
    "nemotron_h": layer_caches.nemotron_hybrid,
    "falcon_h1": layer_caches.same(layer_caches.falcon_h1),
    "rwkv7": layer_caches.same(layer_caches.rwkv7),
}
"""Rules of all other architectures."""

RENAMED = {
    "mistral": "llama",
    "falcon_mamba": "mamba",
    "kimi_k2": "deepseek_v3",
    "joyai_llm_flash": "deepseek_v3",
    "qwen2_5_vl": "qwen2_vl",
    "minimax_m2": "minimax",
    "iquestcoder": "llama",
    "xverse": "llama",
    "qwen3_5_text": "qwen3_5",
    "qwen3_5_moe_text": "qwen3_5",
}
WRAPPED = {
    "gemma3": "gemma3_text",
    "gemma3n": "gemma3n",
    "gemma4": "gemma4_text",
    "gemma4_unified": "gemma4_text",
    "kimi_k25": "deepseek_v3",
    "kimi_vl": "deepseek_v3",
    "qwen3_5": "qwen3_5",
    "qwen3_5_moe": "qwen3_5",
    "qwen3_vl": "qwen3_vl",
    "qwen3_vl_moe": "qwen3_vl_moe",
}
"""Multimodal models and their language models, for configs whose inner part has another name than in mlx-lm."""
WRAPPED_DEFAULTS: Mapping[str, Mapping[str, Any]] = {"gemma3": {"num_attention_heads": 8, "num_key_value_heads": 4}}

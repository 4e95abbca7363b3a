"""What every layer of a model keeps of one sequence: keys and values, a window of them, a latent, a state.

Read from config.json alone, as mlx-lm makes the caches of each architecture. Pure; it knows no files and no MLX.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lmx_daemon.contract.frames import CacheShape, Growing

MAX_LAYERS = 4096
"""A config that names more is not one of a model."""
FLOAT32 = 4


@dataclass(frozen=True)
class Kept:
    """What one layer keeps of one sequence, in elements."""

    per_token: int = 0
    window: int | None = None
    """The last so many tokens only."""
    fixed: int = 0
    """Whatever the length."""
    floats: int = 0
    """As `fixed`, and 32-bit whatever the model's own type."""


def cache_shape(config: Mapping[str, Any], element: int) -> CacheShape | None:
    """With `element` bytes for each number. None where the config does not tell."""
    name, text = language_part(config)
    rule = RULES.get(name, _same(_attention))
    try:
        layers = rule(_Config(text))
    except (KeyError, TypeError, ValueError, ZeroDivisionError, IndexError):
        return None
    growing: Counter[int | None] = Counter()
    for kept in layers:
        growing[kept.window] += kept.per_token * element
    return CacheShape(
        fixed=sum(kept.fixed * element + kept.floats * FLOAT32 for kept in layers),
        growing=tuple(Growing(per_token=size, window=window) for window, size in growing.items() if size),
        basis="computed" if name in RULES or name in PLAIN else "estimated",
    )


def language_part(config: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The architecture of the language model inside, by mlx-lm's name for it, and its settings."""
    for name in ("text_config", "language_config", "llm_config"):
        if isinstance(inner := config.get(name), Mapping):
            outer = str(config.get("model_type", ""))
            kind = WRAPPED.get(outer) or str(inner.get("model_type") or outer)
            shared = {key: value for key, value in config.items() if not isinstance(value, Mapping)}
            return RENAMED.get(kind, kind), {**shared, **WRAPPED_DEFAULTS.get(outer, {}), **inner}
    kind = str(config.get("model_type", ""))
    return RENAMED.get(kind, kind), config


class _Config:
    """Positive whole numbers out of a config that nobody has checked."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def __call__(self, *names: str, default: int | None = None) -> int:
        for name in names:
            value = self._values.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**40:
                return value
        if default is None:
            raise KeyError(names[0])
        return default

    def list(self, name: str) -> list[Any] | None:
        found = self._values.get(name)
        return list(found) if isinstance(found, list | tuple | str) else None

    def inner(self, name: str) -> "_Config":
        return _Config(self._values[name])

    def flag(self, name: str) -> bool:
        return bool(self._values.get(name))

    @property
    def layers(self) -> int:
        count = self("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_transformer_layers")
        if count > MAX_LAYERS:
            raise ValueError(f"{count} layers")
        return count


Rule = Callable[[_Config], list[Kept]]


def _same(of: Callable[[_Config], Kept]) -> Rule:
    return lambda config: [of(config)] * config.layers


def _attention(config: _Config) -> Kept:
    heads = config("num_attention_heads", "n_head", "n_heads")
    width = config("head_dim", "v_head_dim", default=config("hidden_size", "n_embd", "d_model", default=0) // heads)
    groups = config("num_key_value_heads", "n_kv_heads", "num_kv_heads", "n_head_kv", default=heads)
    return Kept(groups * width * 2)


def _windowed(
    config: _Config, full: list[bool], window: str = "sliding_window", default: int | None = None
) -> list[Kept]:
    """Attention over everything where `full`, else over the window."""
    kept = _attention(config)
    if all(full):
        return [kept] * len(full)
    narrow = Kept(kept.per_token, config(window, default=default))
    return [kept if whole else narrow for whole in full]


def _by_layer_types(config: _Config) -> list[Kept]:
    kinds = config.list("layer_types") or ["full_attention"] * config.layers
    return _windowed(config, [kind == "full_attention" for kind in kinds[: config.layers]])


def _alternating(config: _Config) -> list[Kept]:
    if config.list("layer_types"):
        return _by_layer_types(config)
    return _windowed(config, [index % 2 == 1 for index in range(config.layers)])


def _every(period: int, window: int | None = None) -> Rule:
    """Full attention in the last layer of each `sliding_window_pattern`, the window elsewhere."""

    def rule(config: _Config) -> list[Kept]:
        each = config("sliding_window_pattern", default=period)
        return _windowed(config, [index % each == each - 1 for index in range(config.layers)], default=window)

    return rule


def _gemma3(config: _Config) -> list[Kept]:
    each = config("sliding_window_pattern", default=6)
    per_token = config("num_key_value_heads", default=1) * config("head_dim", default=256) * 2
    narrow = Kept(per_token, config("sliding_window", default=512))
    return [Kept(per_token) if i % each == each - 1 else narrow for i in range(config("num_hidden_layers", default=26))]


def _gemma3n(config: _Config) -> list[Kept]:
    return _by_layer_types(config)[: config.layers - config("num_kv_shared_layers")]


def _gemma4(config: _Config) -> list[Kept]:
    count = config("num_hidden_layers", default=35)
    each = config("sliding_window_pattern", default=5)
    kinds = config.list("layer_types") or [
        "full_attention" if index % each == each - 1 else "sliding_attention" for index in range(count)
    ]
    groups = config("num_key_value_heads", default=1)
    all_groups = config("num_global_key_value_heads", default=groups) if config.flag("attention_k_eq_v") else groups
    narrow = Kept(groups * config("head_dim", default=256) * 2, config("sliding_window", default=512))
    full = Kept(all_groups * config("global_head_dim", default=512) * 2)
    kept = [full if kind == "full_attention" else narrow for kind in kinds[:count]]
    return kept[: count - config("num_kv_shared_layers", default=20)]


def _exaone4(config: _Config) -> list[Kept]:
    pattern = config.list("sliding_window_pattern")
    full = [not pattern or pattern[index % len(pattern)] != "L" for index in range(config.layers)]
    return _windowed(config, full)


def _latent(config: _Config) -> Kept:
    """Multi-head latent attention: one compressed vector and one rotated key a token."""
    return Kept(config("kv_lora_rank") + config("qk_rope_head_dim"))


def _expanded_latent(config: _Config) -> Kept:
    """The same, kept expanded, for every head."""
    wide = config("qk_nope_head_dim") + config("qk_rope_head_dim")
    narrow = config("v_head_dim", default=config("hidden_size", default=0) // config("num_attention_heads"))
    return Kept(config("num_attention_heads") * (wide + narrow))


def _indexed_latent(config: _Config) -> Kept:
    return Kept(_latent(config).per_token + 2 * config("index_head_dim", default=128))


def _gated_delta(config: _Config) -> list[Kept]:
    key = config("linear_num_key_heads") * config("linear_key_head_dim")
    value = config("linear_num_value_heads") * config("linear_value_head_dim")
    linear = Kept(
        fixed=(config("linear_conv_kernel_dim", default=4) - 1) * (2 * key + value),
        floats=value * config("linear_key_head_dim"),
    )
    each, full = config("full_attention_interval", default=4), _attention(config)
    return [full if (index + 1) % each == 0 else linear for index in range(config.layers)]


def _kimi_linear(config: _Config) -> list[Kept]:
    linear = config.inner("linear_attn_config")
    heads, width = linear("num_heads"), linear("head_dim")
    kept = Kept(
        fixed=3 * (linear("short_conv_kernel_size", default=4) - 1) * heads * width, floats=heads * width * width
    )
    chosen = set(linear.list("kda_layers") or [])
    return [kept if index + 1 in chosen else _latent(config) for index in range(config.layers)]


def _mamba(config: _Config) -> Kept:
    inner = config("intermediate_size", "d_inner")
    return Kept(fixed=inner * (config("conv_kernel", "d_conv") - 1 + config("state_size", "d_state")))


def _mamba2(heads: int, width: int, state: int, groups: int, kernel: int) -> Kept:
    inner = heads * width
    return Kept(fixed=(kernel - 1) * (inner + 2 * groups * state) + inner * state)


def _plain_mamba2(config: _Config) -> Kept:
    state = config("ssm_state_size", "state_size")
    return _mamba2(config("num_heads"), config("head_dim"), state, config("n_groups"), config("conv_kernel"))


def _jamba(config: _Config) -> list[Kept]:
    period, offset = config("attn_layer_period"), config("attn_layer_offset")
    kinds = config.list("layers_block_type") or [
        "attention" if index % period == offset else "mamba" for index in range(config.layers)
    ]
    inner = config("mamba_expand") * config("hidden_size")
    state = Kept(fixed=inner * (config("mamba_d_conv") - 1 + config("mamba_d_state")))
    return [_attention(config) if kind == "attention" else state for kind in kinds]


def _granite_hybrid(config: _Config) -> list[Kept]:
    kinds, full = config.list("layer_types") or [], _attention(config)
    if "mamba" not in kinds:
        return [full] * len(kinds)
    state = _mamba2(*(config(f"mamba_{name}") for name in ("n_heads", "d_head", "d_state", "n_groups", "d_conv")))
    return [state if kind == "mamba" else full for kind in kinds]


def _nemotron_hybrid(config: _Config) -> list[Kept]:
    signs = {"full_attention": "*", "attention": "*", "linear_attention": "M", "mamba": "M", "conv": "M"}
    kinds = config.list("hybrid_override_pattern") or config.list("layers_block_type") or config.list("layer_types")
    names = ("mamba_num_heads", "mamba_head_dim", "ssm_state_size", "n_groups", "conv_kernel")
    kept = {"*": _attention(config), "M": _mamba2(*map(config, names))}
    return [kept[sign] for kind in kinds or [] if (sign := signs.get(kind, kind)) in kept]


def _falcon_h1(config: _Config) -> Kept:
    names = {"n_heads": 24, "d_head": 64, "d_state": 128, "n_groups": 1, "d_conv": 4}
    state = _mamba2(*(config(f"mamba_{name}", default=value) for name, value in names.items()))
    return Kept(_attention(config).per_token, fixed=state.fixed)


def _lfm2(config: _Config) -> list[Kept]:
    chosen, kinds = config.list("full_attn_idxs"), config.list("layer_types") or []
    full = set(chosen if chosen is not None else [i for i, kind in enumerate(kinds) if kind == "full_attention"])
    short = Kept(fixed=(config("conv_L_cache") - 1) * config("hidden_size"))
    return [_attention(config) if index in full else short for index in range(config.layers)]


def _rwkv7(config: _Config) -> Kept:
    width = config("hidden_size")
    return Kept(fixed=2 * width + width * config("head_dim"))


# fmt: off
PLAIN = frozenset((
    "apertus", "cohere", "dbrx", "deepseek", "dots1", "ernie4_5", "ernie4_5_moe", "exaone", "gemma", "gemma2",
    "glm", "glm4", "glm4_moe", "granite", "granitemoe", "helium", "hunyuan", "hunyuan_v1_dense", "internlm2",
    "internlm3", "Klear", "mimo", "minicpm", "minimax", "mixtral", "nemotron", "olmo", "olmo2", "olmoe", "phi",
    "phi3", "phimoe", "qwen", "qwen2", "qwen2_moe", "qwen2_vl", "qwen3", "qwen3_moe", "qwen3_vl",
    "qwen3_vl_moe", "seed_oss", "smollm3", "solar_open", "stablelm", "starcoder2", "telechat3",
))
# fmt: on
"""Architectures of mlx-lm whose every layer keeps keys and values of everything."""

RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("llama", "ministral3", "laguna", "mellum", "afmoe"), _by_layer_types),
    **dict.fromkeys(("deepseek_v3", "glm4_moe_lite", "mistral4", "kimi_k25"), _same(_latent)),
    **dict.fromkeys(("deepseek_v2", "minicpm3"), _same(_expanded_latent)),
    **dict.fromkeys(("deepseek_v32", "glm_moe_dsa"), _same(_indexed_latent)),
    **dict.fromkeys(("qwen3_next", "qwen3_5", "qwen3_5_moe"), _gated_delta),
    **dict.fromkeys(("lfm2", "lfm2_moe"), _lfm2),
    "gpt_oss": _alternating,
    "gemma3_text": _gemma3,
    "gemma3n": _gemma3n,
    "gemma4_text": _gemma4,
    "cohere2": _every(4),
    "olmo3": lambda config: _by_layer_types(config) if config.list("layer_types") else _every(4)(config),
    "exaone4": _exaone4,
    "kimi_linear": _kimi_linear,
    "mamba": _same(_mamba),
    "mamba2": _same(_plain_mamba2),
    "jamba": _jamba,
    "granitemoehybrid": _granite_hybrid,
    "nemotron_h": _nemotron_hybrid,
    "falcon_h1": _same(_falcon_h1),
    "rwkv7": _same(_rwkv7),
}
"""The others, each by its own rule."""

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
"""Models around a language model, and which one that is where its own part does not say so in mlx-lm's words."""
WRAPPED_DEFAULTS: Mapping[str, Mapping[str, Any]] = {"gemma3": {"num_attention_heads": 8, "num_key_value_heads": 4}}

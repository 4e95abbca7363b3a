"""The cache of one sequence in each layer, in elements: keys and values, a window of them, a latent vector or a state.

A rule reads the config of a language model. architectures.py assigns rules to architectures. Pure.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

MAX_LAYERS = 1024
"""Maximum number of layers in a valid config."""


@dataclass(frozen=True)
class LayerCache:
    """Cache of one sequence in one layer, in elements."""

    per_token: int = 0
    """Elements for each token."""
    window: int | None = None
    """Number of most recent tokens that are kept; None is all."""
    fixed: int = 0
    """Elements that do not depend on the length."""
    floats: int = 0
    """Numbers as in `fixed`, with 32 bits each for every type of the model."""


class ModelConfig:
    """Reader of an unchecked config. A call returns the first number of 0 or more under one of the names."""

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

    def inner(self, name: str) -> "ModelConfig":
        found = self._values.get(name)
        if not isinstance(found, Mapping):
            raise KeyError(name)
        return ModelConfig(found)

    def flag(self, name: str) -> bool:
        return bool(self._values.get(name))

    @property
    def layers(self) -> int:
        count = self("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_transformer_layers")
        if count > MAX_LAYERS:
            raise ValueError(f"{count} layers")
        return count


Rule = Callable[[ModelConfig], list[LayerCache]]


def same(of: Callable[[ModelConfig], LayerCache]) -> Rule:
    return lambda config: [of(config)] * config.layers


def attention(config: ModelConfig) -> LayerCache:
    heads = config("num_attention_heads", "n_head", "n_heads")
    width = config("head_dim", "v_head_dim", default=config("hidden_size", "n_embd", "d_model", default=0) // heads)
    groups = config("num_key_value_heads", "n_kv_heads", "num_kv_heads", "n_head_kv", default=heads)
    return LayerCache(groups * width * 2)


def _windowed(
    config: ModelConfig, full: list[bool], window: str = "sliding_window", default: int | None = None
) -> list[LayerCache]:
    """Return attention over all tokens for layers with `full`, and over the window for the others."""
    kept = attention(config)
    if all(full):
        return [kept] * len(full)
    narrow = LayerCache(kept.per_token, config(window, default=default))
    return [kept if whole else narrow for whole in full]


def by_layer_types(config: ModelConfig) -> list[LayerCache]:
    kinds = config.list("layer_types") or ["full_attention"] * config.layers
    return _windowed(config, [kind == "full_attention" for kind in kinds[: config.layers]])


def alternating(config: ModelConfig) -> list[LayerCache]:
    if config.list("layer_types"):
        return by_layer_types(config)
    return _windowed(config, [index % 2 == 1 for index in range(config.layers)])


def every(period: int, window: int | None = None) -> Rule:
    """Return a rule with full attention in the last layer of each `sliding_window_pattern`, else over the window."""

    def rule(config: ModelConfig) -> list[LayerCache]:
        each = config("sliding_window_pattern", default=period)
        return _windowed(config, [index % each == each - 1 for index in range(config.layers)], default=window)

    return rule


def gemma3(config: ModelConfig) -> list[LayerCache]:
    each = config("sliding_window_pattern", default=6)
    per_token = config("num_key_value_heads", default=1) * config("head_dim", default=256) * 2
    narrow = LayerCache(per_token, config("sliding_window", default=512))
    return [
        LayerCache(per_token) if i % each == each - 1 else narrow
        for i in range(config("num_hidden_layers", default=26))
    ]


def gemma3n(config: ModelConfig) -> list[LayerCache]:
    return by_layer_types(config)[: config.layers - config("num_kv_shared_layers")]


def gemma4(config: ModelConfig) -> list[LayerCache]:
    count = config("num_hidden_layers", default=35)
    each = config("sliding_window_pattern", default=5)
    kinds = config.list("layer_types") or [
        "full_attention" if index % each == each - 1 else "sliding_attention" for index in range(count)
    ]
    groups = config("num_key_value_heads", default=1)
    all_groups = config("num_global_key_value_heads", default=groups) if config.flag("attention_k_eq_v") else groups
    narrow = LayerCache(groups * config("head_dim", default=256) * 2, config("sliding_window", default=512))
    full = LayerCache(all_groups * config("global_head_dim", default=512) * 2)
    kept = [full if kind == "full_attention" else narrow for kind in kinds[:count]]
    return kept[: count - config("num_kv_shared_layers", default=20)]


def exaone4(config: ModelConfig) -> list[LayerCache]:
    pattern = config.list("sliding_window_pattern")
    full = [not pattern or pattern[index % len(pattern)] != "L" for index in range(config.layers)]
    return _windowed(config, full)


def latent(config: ModelConfig) -> LayerCache:
    """Return the cache of multi-head latent attention: one compressed vector and one rotated key per token."""
    return LayerCache(config("kv_lora_rank") + config("qk_rope_head_dim"))


def expanded_latent(config: ModelConfig) -> LayerCache:
    """Return the cache of latent attention that is stored expanded for each head."""
    wide = config("qk_nope_head_dim") + config("qk_rope_head_dim")
    narrow = config("v_head_dim", default=config("hidden_size", default=0) // config("num_attention_heads"))
    return LayerCache(config("num_attention_heads") * (wide + narrow))


def indexed_latent(config: ModelConfig) -> LayerCache:
    return LayerCache(latent(config).per_token + 2 * config("index_head_dim", default=128))


def gated_delta(config: ModelConfig) -> list[LayerCache]:
    key = config("linear_num_key_heads") * config("linear_key_head_dim")
    value = config("linear_num_value_heads") * config("linear_value_head_dim")
    linear = LayerCache(
        fixed=(config("linear_conv_kernel_dim", default=4) - 1) * (2 * key + value),
        floats=value * config("linear_key_head_dim"),
    )
    each, full = config("full_attention_interval", default=4), attention(config)
    return [full if (index + 1) % each == 0 else linear for index in range(config.layers)]


def kimi_linear(config: ModelConfig) -> list[LayerCache]:
    linear = config.inner("linear_attn_config")
    heads, width = linear("num_heads"), linear("head_dim")
    kept = LayerCache(
        fixed=3 * (linear("short_conv_kernel_size", default=4) - 1) * heads * width, floats=heads * width * width
    )
    chosen = set(linear.list("kda_layers") or [])
    return [kept if index + 1 in chosen else latent(config) for index in range(config.layers)]


def mamba(config: ModelConfig) -> LayerCache:
    inner = config("intermediate_size", "d_inner")
    return LayerCache(fixed=inner * (config("conv_kernel", "d_conv") - 1 + config("state_size", "d_state")))


def _mamba2(heads: int, width: int, state: int, groups: int, kernel: int) -> LayerCache:
    inner = heads * width
    return LayerCache(fixed=(kernel - 1) * (inner + 2 * groups * state) + inner * state)


def plain_mamba2(config: ModelConfig) -> LayerCache:
    state = config("ssm_state_size", "state_size")
    return _mamba2(config("num_heads"), config("head_dim"), state, config("n_groups"), config("conv_kernel"))


def jamba(config: ModelConfig) -> list[LayerCache]:
    period, offset = config("attn_layer_period"), config("attn_layer_offset")
    kinds = config.list("layers_block_type") or [
        "attention" if index % period == offset else "mamba" for index in range(config.layers)
    ]
    inner = config("mamba_expand") * config("hidden_size")
    state = LayerCache(fixed=inner * (config("mamba_d_conv") - 1 + config("mamba_d_state")))
    return [attention(config) if kind == "attention" else state for kind in kinds]


def granite_hybrid(config: ModelConfig) -> list[LayerCache]:
    kinds, full = config.list("layer_types") or [], attention(config)
    if "mamba" not in kinds:
        return [full] * len(kinds)
    state = _mamba2(*(config(f"mamba_{name}") for name in ("n_heads", "d_head", "d_state", "n_groups", "d_conv")))
    return [state if kind == "mamba" else full for kind in kinds]


def nemotron_hybrid(config: ModelConfig) -> list[LayerCache]:
    signs = {"full_attention": "*", "attention": "*", "linear_attention": "M", "mamba": "M", "conv": "M"}
    kinds = config.list("hybrid_override_pattern") or config.list("layers_block_type") or config.list("layer_types")
    names = ("mamba_num_heads", "mamba_head_dim", "ssm_state_size", "n_groups", "conv_kernel")
    kept = {"*": attention(config), "M": _mamba2(*map(config, names))}
    return [kept[sign] for kind in kinds or [] if (sign := signs.get(kind, kind)) in kept]


def falcon_h1(config: ModelConfig) -> LayerCache:
    names = {"n_heads": 24, "d_head": 64, "d_state": 128, "n_groups": 1, "d_conv": 4}
    state = _mamba2(*(config(f"mamba_{name}", default=value) for name, value in names.items()))
    return LayerCache(attention(config).per_token, fixed=state.fixed)


def lfm2(config: ModelConfig) -> list[LayerCache]:
    chosen, kinds = config.list("full_attn_idxs"), config.list("layer_types") or []
    full = set(chosen if chosen is not None else [i for i, kind in enumerate(kinds) if kind == "full_attention"])
    short = LayerCache(fixed=(config("conv_L_cache") - 1) * config("hidden_size"))
    return [attention(config) if index in full else short for index in range(config.layers)]


def rwkv7(config: ModelConfig) -> LayerCache:
    width = config("hidden_size")
    return LayerCache(fixed=2 * width + width * config("head_dim"))

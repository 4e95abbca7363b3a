"""Random-weight models of real architectures, built from mlx-lm's classes, with a small tokenizer."""

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

VOCABULARY = 512
COMMIT = "0" * 40
TEMPLATE = (
    "{%- for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SMALL: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": VOCABULARY,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "max_position_embeddings": 32768,
    "tie_word_embeddings": True,
}
MIXTURE: dict[str, Any] = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "moe_intermediate_size": 32,
    "norm_topk_prob": True,
}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": SMALL,
    "qwen2": SMALL,
    "qwen3": SMALL,
    "qwen3_moe": SMALL | MIXTURE,
    "gemma3_text": SMALL
    | {
        "sliding_window": 32,
        "sliding_window_pattern": 2,
        "query_pre_attn_scalar": 16,
        "rope_local_base_freq": 10000.0,
        "rope_global_base_freq": 10000.0,
    },
    "gpt_oss": SMALL
    | {
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "sliding_window": 32,
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_scaling": None,
    },
    "mamba": {
        "vocab_size": VOCABULARY,
        "hidden_size": 64,
        "intermediate_size": 128,
        "state_size": 8,
        "num_hidden_layers": 2,
        "conv_kernel": 4,
        "use_bias": False,
        "use_conv_bias": True,
        "time_step_rank": 8,
    },
    "deepseek_v3": SMALL
    | {
        "num_key_value_heads": 4,
        "moe_intermediate_size": 32,
        "n_shared_experts": 1,
        "n_routed_experts": 4,
        "routed_scaling_factor": 1.0,
        "kv_lora_rank": 16,
        "q_lora_rank": 16,
        "qk_rope_head_dim": 8,
        "v_head_dim": 16,
        "qk_nope_head_dim": 16,
        "num_experts_per_tok": 2,
        "first_k_dense_replace": 1,
        "n_group": 1,
        "topk_group": 1,
    },
}
MORE: dict[str, dict[str, Any]] = {
    "gemma2": SMALL | {"query_pre_attn_scalar": 16},
    "cohere2": SMALL | {"num_hidden_layers": 4, "sliding_window": 32, "sliding_window_pattern": 2},
    "lfm2": SMALL
    | {
        "norm_eps": 1e-6,
        "conv_bias": False,
        "conv_L_cache": 3,
        "block_dim": 64,
        "block_ff_dim": 128,
        "block_multiple_of": 16,
        "block_ffn_dim_multiplier": 1.0,
        "block_auto_adjust_ff_dim": False,
        "layer_types": ["conv", "full_attention"],
    },
    "falcon_h1": SMALL
    | {
        "mamba_d_head": 16,
        "mamba_d_ssm": 128,
        "mamba_d_state": 16,
        "mamba_n_heads": 8,
    },
    "dbrx": {
        "vocab_size": VOCABULARY,
        "d_model": 64,
        "n_layers": 2,
        "n_heads": 4,
        "ffn_config": {"ffn_hidden_size": 64, "moe_num_experts": 4, "moe_top_k": 2},
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10000.0},
    },
    "mistral3": {"text_config": SMALL | {"model_type": "llama"}},
    "qwen3_next": SMALL
    | MIXTURE
    | {
        "num_hidden_layers": 4,
        "linear_num_value_heads": 4,
        "linear_num_key_heads": 2,
        "linear_key_head_dim": 32,
        "linear_value_head_dim": 32,
        "linear_conv_kernel_dim": 4,
        "shared_expert_intermediate_size": 32,
        "partial_rotary_factor": 0.5,
    },
}
"""Further architectures, for tests that start no worker process for each."""
SHARPER = 3.0
ALREADY_SHARP = {"gemma2"}
TEXT = (
    "The quick brown fox jumps over the lazy dog. A model reads tokens and writes tokens; a worker holds the model, "
    "a daemon holds the workers. Once upon a time there was a server that never died. 0123456789 ünïcödé 日本語 🙂 "
)


def build_model(
    architecture: str,
    folder: Path,
    *,
    seed: int = 0,
    ends: bool = True,
    special: Sequence[str] = (),
    template: str = TEMPLATE,
    **changes: Any,
) -> Path:
    """Write a model repository of `architecture` with random weights to `folder`.

    With `ends` false the model has no end-of-text token: every answer is as long as its token limit. `special` are
    further special tokens.
    """
    import mlx.core as mx
    from mlx.utils import tree_flatten

    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_type": architecture} | (ARCHITECTURES | MORE)[architecture] | changes
    module = importlib.import_module(f"mlx_lm.models.{architecture}")
    mx.random.seed(seed)
    model = module.Model(module.ModelArgs.from_dict(config))
    # Scaled up, so that every token depends on earlier ones. As initialised, most models repeat one token.
    factor = 1.0 if architecture in ALREADY_SHARP else SHARPER
    weights = {
        name: value.astype(mx.float32) * (factor if value.ndim > 1 else 1.0)
        for name, value in tree_flatten(model.parameters())
    }
    mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "mlx"})
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text(json.dumps({"do_sample": False}))
    _write_tokenizer(folder, ends, special, template)
    return folder


def build_cached_model(architecture: str, cache: Path, repo: str, **options: Any) -> Path:
    """Build a model with `build_model` in the repository `repo` of a Hugging Face cache, and return its snapshot."""
    return build_model(architecture, cached_snapshot(cache, repo), **options)


def cached_snapshot(cache: Path, repo: str) -> Path:
    """Create the only snapshot of the repository `repo` in a cache, name it main, and return its folder."""
    repository = cache / f"models--{repo.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    return repository / "snapshots" / COMMIT


def _write_tokenizer(folder: Path, ends: bool, more: Sequence[str], template: str) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        [TEXT] * 4,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY - 32,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in more])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "<|endoftext|>",
        "chat_template": template,
        "model_max_length": 32768,
    }
    if ends:
        settings["eos_token"] = "<|im_end|>"
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))

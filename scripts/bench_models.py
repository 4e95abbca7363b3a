"""The two models for the comparison of servers: random weights in fp32, and a tokenizer of plain ASCII words.

Random weights cost as much compute as trained weights. Every generated token is a complete ASCII word, so that a server
can send each token at once and need not hold back incomplete characters.
"""

import random
from pathlib import Path
from typing import Any

from lmx_cli.bench.prompts import WORDS
from tests.models import build_model

VOCABULARY = 4096
SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {
        "hidden_size": 256,
        "num_hidden_layers": 4,
        "intermediate_size": 768,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 32,
    },
    "small": {
        "hidden_size": 512,
        "num_hidden_layers": 8,
        "intermediate_size": 1536,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 64,
    },
}
COMMIT = "0" * 40
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def build(name: str, cache: Path) -> Path:
    """Write the model into a Hugging Face cache as bench/`name`, and return the folder of its files."""
    repository = cache / f"models--bench--{name}"
    snapshot = repository / "snapshots" / COMMIT
    build_model("qwen3", snapshot, ends=False, vocab_size=VOCABULARY, **SHAPES[name])
    _write_tokenizer(snapshot)
    _generate_words_only(snapshot)
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / "main").write_text(COMMIT)
    return snapshot


def _vocabulary() -> list[str]:
    """Return the vocabulary in byte-level BPE notation: special tokens, characters, words with and without a space."""
    rng = random.Random(0)
    characters = [chr(code) for code in range(33, 127)] + ["Ġ", "Ċ"]
    found = dict.fromkeys([*SPECIAL, *characters, *WORDS, *(f"{word}Ġ" for word in WORDS)])
    while len(found) < VOCABULARY:
        found["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(3, 8))) + "Ġ"] = None
    return list(found)


def _write_tokenizer(folder: Path) -> None:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    vocabulary = {token: identity for identity, token in enumerate(_vocabulary())}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\S+ ?|\s"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.save(str(folder / "tokenizer.json"))


def _generate_words_only(folder: Path) -> None:
    """Zero the embeddings of all tokens but words with a trailing space, so that only these are generated.

    Generated text then has a single tokenization, as that of a trained model nearly always has. Otherwise the prompt of
    a second turn would not contain the generated tokens as its prefix.
    """
    import mlx.core as mx

    file = folder / "model.safetensors"
    weights = mx.load(str(file))
    assert isinstance(weights, dict)
    words = mx.array([len(token) > 1 and token.endswith("Ġ") for token in _vocabulary()])
    weights["model.embed_tokens.weight"] *= words[:, None]
    mx.save_safetensors(str(file), weights, {"format": "mlx"})

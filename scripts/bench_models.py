"""The two models that servers are compared on: random weights, fp32, and a tokenizer whose every token is plain text.

Random weights say nothing sensible and cost what trained ones do. Every token they say is a word of its own in ASCII:
each can be shown at once, so that no server gains or loses by how it holds back half a character.
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
    """Writes the model into a Hugging Face cache as bench/`name`; the folder of its files."""
    repository = cache / f"models--bench--{name}"
    snapshot = repository / "snapshots" / COMMIT
    build_model("qwen3", snapshot, ends=False, vocab_size=VOCABULARY, **SHAPES[name])
    _write_tokenizer(snapshot)
    _say_words_only(snapshot)
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / "main").write_text(COMMIT)
    return snapshot


def _vocabulary() -> list[str]:
    """Special tokens, characters, words as a line ends with them, and words with a space after them, as byte-level BPE
    writes them."""
    chance = random.Random(0)
    characters = [chr(code) for code in range(33, 127)] + ["Ġ", "Ċ"]
    found = dict.fromkeys([*SPECIAL, *characters, *WORDS, *(f"{word}Ġ" for word in WORDS)])
    while len(found) < VOCABULARY:
        found["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(3, 8))) + "Ġ"] = None
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


def _say_words_only(folder: Path) -> None:
    """What the model says has one spelling in tokens, as a trained model's text nearly always has: else a second turn
    would have another beginning than the first one's answer."""
    import mlx.core as mx

    file = folder / "model.safetensors"
    weights = mx.load(str(file))
    assert isinstance(weights, dict)
    words = mx.array([len(token) > 1 and token.endswith("Ġ") for token in _vocabulary()])
    weights["model.embed_tokens.weight"] *= words[:, None]
    mx.save_safetensors(str(file), weights, {"format": "mlx"})

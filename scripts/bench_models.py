"""The two models that servers are compared on: random weights, fp32, and a tokenizer whose every token is plain text.

Random weights say nothing sensible and cost what trained ones do. Every token is ASCII, so that each one can be shown
at once, and no server gains or loses by how it holds back half a character.
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


def build(name: str, cache: Path) -> Path:
    """Writes the model into a Hugging Face cache as bench/`name`; the folder of its files."""
    repository = cache / f"models--bench--{name}"
    snapshot = repository / "snapshots" / COMMIT
    build_model("qwen3", snapshot, ends=False, vocab_size=VOCABULARY, **SHAPES[name])
    _write_tokenizer(snapshot)
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / "main").write_text(COMMIT)
    return snapshot


def _write_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    chance = random.Random(0)
    made = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 8))) for _ in range(20_000)]
    alphabet = [chr(code) for code in range(33, 127)] + ["Ġ", "Ċ"]  # space and newline, as byte-level BPE writes them
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([" ".join(made), "\n".join([" ".join(WORDS)] * 50)], trainer)
    assert tokenizer.get_vocab_size() == VOCABULARY
    tokenizer.save(str(folder / "tokenizer.json"))

"""Tokenizer of the guide: byte-level BPE that tokenizes a name or a value alike in every context.

A space is part of the next word only for frequent words of the corpus. Digits and signs are tokens of their own, and so
is each piece of JSON between names and values. Therefore `Paris` after a space and `"Paris"` are the same tokens, which
two small attention heads can copy.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

VOCABULARY = 4096
JOINED_WORDS = 800
START = "<|im_start|>"
END = "<|im_end|>"
SPECIAL = ["<|endoftext|>", START, END]
MARKUP = [
    "<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>",
    "<tools>", "</tools>",
]  # fmt: skip
GLUE = [
    r'\{"name": "', r'", "arguments": \{"', r'", "arguments": \{\}\}', r'", "description": "',
    r'", "parameters": \{"', r'", "parameters": \{\}\}',
    r'": "(?:string|integer|number|boolean|array|object)"(?:, "|\}\})', r'": \["', r'"\](?:, "|\}\})',
    r'": "', r'", "', r'"\}\}', r'": ', r', "', r"\}\}",
]  # fmt: skip
PIECES = [r"\p{Lu}?[\p{Ll}\p{M}]+", r"\p{Lu}+(?!\p{Ll})", r"\p{L}", r"\d", r"\n+", r" +", r"[^\s\p{L}\d]", r"\s"]


def frequent_words(texts: Iterable[str]) -> list[str]:
    counts = Counter(word for text in texts for word in re.findall(r"(?<= )[A-Za-z]+(?![A-Za-z0-9_-])", text))
    return sorted(word for word, _ in counts.most_common(JOINED_WORDS))


def train(prose: list[str], samples: list[str]) -> Tokenizer:
    """Return a tokenizer trained on both lists of texts. `prose` determines the words that are joined with a space."""
    joined = " (?:" + "|".join(frequent_words(prose)) + r")(?![\p{L}\d_])"
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("|".join([*GLUE, joined, *PIECES])), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[AddedToken(word, special=True, normalized=False) for word in SPECIAL + MARKUP],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(prose + samples, trainer)
    content = json.loads(tokenizer.to_str())
    for token in content["added_tokens"]:
        token["special"] = token["content"] in SPECIAL
    return Tokenizer.from_str(json.dumps(content))


def save(tokenizer: Tokenizer, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "pad_token": "<|endoftext|>",
        "bos_token": None,
        "unk_token": None,
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 16384,
        "chat_template": chat_template(),
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")


def chat_template() -> str:
    return (Path(__file__).parent / "chat.jinja").read_text()


def load(folder: Path) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast.from_pretrained(str(folder))

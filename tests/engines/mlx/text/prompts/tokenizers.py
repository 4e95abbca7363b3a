"""Small tokenizers of the kinds that models have, with control tokens, in the form that mlx-lm hands to a prompt."""

import functools
import json
from typing import Any

from mlx_lm.tokenizer_utils import TokenizerWrapper
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tests.models import TEXT

SPECIAL = ("<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|a|>", "<||>", "[INST]")
ADDED = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<table>", "\n\n")
"""Added tokens that are not special. `<table>` and line breaks are words: no template writes the former."""
KINDS = ("byte-level", "legacy sentencepiece", "metaspace", "unigram", "compatibility")
TEMPLATE = (
    "{%- if tools %}{{ tools | tojson }}{% endif %}"
    "{%- for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content | trim }}<|im_end|>\n{% endfor %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n<think>\n\n</think><tool_call></tool_call>{% endif %}"
)


def tokenizer_of(kind: str, template: str = TEMPLATE, extra: tuple[str, ...] = ()) -> TokenizerWrapper:
    """Return a tokenizer of one of KINDS, with `extra` special tokens."""
    return _wrapped(kind, template, extra)


@functools.cache
def _trained(kind: str) -> str:
    """Return the vocabulary of such a tokenizer as JSON. Trained once, since training is not deterministic."""
    made = Tokenizer(models.Unigram() if kind == "unigram" else models.BPE(byte_fallback=kind != "byte-level"))
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    pieces = [f"<0x{byte:02X}>" for byte in range(256)]
    if kind == "byte-level":
        made.normalizer = normalizers.NFC()
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
    elif kind == "legacy sentencepiece":
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        made.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
    else:
        if kind == "compatibility":
            made.normalizer = normalizers.NFKC()
        made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
        made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    words = [TEXT, TEXT.replace(" ", "▁"), "".join(SPECIAL), "".join(ADDED)] * 3
    if kind == "unigram":
        made.train_from_iterator(words, trainers.UnigramTrainer(vocab_size=300, show_progress=False))
        return _with_bytes(made, pieces)
    made.train_from_iterator(
        words,
        trainers.BpeTrainer(
            vocab_size=700,
            initial_alphabet=alphabet if kind == "byte-level" else [],
            special_tokens=[] if kind == "byte-level" else ["<unk>", *pieces],
            show_progress=False,
        ),
    )
    return str(made.to_str())


def _with_bytes(made: Tokenizer, pieces: list[str]) -> str:
    """Return a Unigram tokenizer with bytes, and with control tokens in the vocabulary, as T5's and Gemma's have."""
    fixed = {"<unk>": 0.0} | dict.fromkeys(pieces, -20.0) | dict.fromkeys(SPECIAL, 0.0)
    trained = dict(json.loads(made.to_str())["model"]["vocab"])
    vocabulary = [*fixed.items(), *((piece, score) for piece, score in trained.items() if piece not in fixed)]
    other = Tokenizer(models.Unigram(vocabulary, unk_id=0, byte_fallback=True))
    other.pre_tokenizer, other.decoder = made.pre_tokenizer, made.decoder
    return str(other.to_str())


@functools.cache
def _wrapped(kind: str, template: str, extra: tuple[str, ...]) -> TokenizerWrapper:
    made = Tokenizer.from_str(_trained(kind))
    normalized = kind == "compatibility"
    made.add_special_tokens([AddedToken(text, special=True, normalized=normalized) for text in (*SPECIAL, *extra)])
    made.add_tokens([AddedToken(text, special=False, normalized=normalized) for text in ADDED])
    fast: Any = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>")
    fast.chat_template = template
    return TokenizerWrapper(fast)

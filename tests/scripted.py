r"""Scripted models: one-layer llamas with a real tokenizer, whose weights are chosen so that they generate fixed texts.

The worker loads and runs such a model like any other one, so tests of whole answers need no large model:

    build_scripted(folder, "Hello there.")                                # the same text for every prompt
    build_scripted(folder, {"": "Hello.", "second": "The other text."})   # the second text if the prompt has "second"
    build_scripted(folder, Script([b"\xf0\x9f", b"\x98\x80"], ends=False))  # tokens that are parts of a character

Each token of a script has its own vocabulary entry, even if two entries have the same text, and its own direction in
the hidden state. The output row of the next token has that direction, so token k is followed by token k + 1. All other
tokens, of which prompts consist, share one direction that leads to the first token of a script. A trigger word is one
token: attention finds it in the prompt and selects its script. If a prompt has several triggers, the last one of
`scripts` wins; a second turn needs a later trigger, since its prompt contains the first one, too.

The tokenizer's model is Unigram, the only one whose vocabulary can hold a text twice. Decoder, special tokens, chat
template and settings are those of the imitated family. Temperatures up to 2 do not change the text. A model holds at
most MAX_SCRIPTS scripts.
"""

import importlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.models import TEMPLATE

Decoder = Literal["byte", "metaspace", "metaspace-stripped", "naive"]
"""Conversion of tokens to text: byte-level (GPT-2, Qwen, Llama 3), sentencepiece (Gemma), sentencepiece without the
first space (Llama 2, Mistral 7B), or a decoder for which mlx-lm has no streaming detokenizer."""
CODE, MAX_SCRIPTS, HIDDEN, HEAD = 256, 60, 320, 64
FLAG, KEY = CODE, CODE + 1
"""Hidden dimensions: the code of a script's token, a flag for other tokens, a trigger's priority, a trigger's index."""
VALUE = CODE + 2
STRONG = 16.0
CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": HIDDEN,
    "num_hidden_layers": 1,
    "intermediate_size": 32,
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
    "head_dim": HEAD,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e12,
    "max_position_embeddings": 32768,
    "tie_word_embeddings": False,
}
END = "<|im_end|>"
SPECIAL = ("<|endoftext|>", "<|im_start|>", END)


@dataclass(frozen=True)
class Script:
    """Output of a model: a text, which is cut into small tokens, or a list of tokens, which may be parts of characters.

    With `ends` false the script repeats without an end.
    """

    text: "str | Sequence[str | bytes]"
    ends: bool = True

    def pieces(self, special: Sequence[str]) -> list[bytes]:
        """Return the bytes of each token. Special tokens in a text stay whole."""
        if not isinstance(self.text, str):
            return [piece.encode() if isinstance(piece, str) else piece for piece in self.text]
        whole = "".join(f"{re.escape(token)}|" for token in sorted(special, key=len, reverse=True))
        return [piece.encode() for piece in re.findall(whole + r" ?\w{1,4}| ?[^\w\s]|\s", self.text)]


Scripts = str | Script | Mapping[str, "str | Script"]


def build_scripted(
    folder: Path,
    scripts: Scripts,
    *,
    decoder: Decoder = "byte",
    special: Sequence[str] = (),
    end: str = END,
    template: str | None = TEMPLATE,
    settings: Mapping[str, Any] | None = None,
    **config: Any,
) -> Path:
    """Write a model that generates `scripts` to `folder`, and return `folder`.

    `scripts` maps trigger words to scripts. A prompt without a trigger selects the script of "", or the first one.
    `special` adds special tokens to SPECIAL; `end`, one of them, ends a script. `template` is the chat template,
    `settings` are further fields of tokenizer_config.json, `config` those of config.json.
    """
    given = scripts if isinstance(scripts, Mapping) else {"": scripts}
    named = {trigger: Script(script) if isinstance(script, str) else script for trigger, script in given.items()}
    assert len(named) <= MAX_SCRIPTS, f"at most {MAX_SCRIPTS} scripts fit into one model"
    special = list(dict.fromkeys([*SPECIAL, *special, end]))
    folder.mkdir(parents=True, exist_ok=True)
    spelled = [
        [entry for piece in script.pieces(special) for entry in _spell(piece, decoder)] for script in named.values()
    ]
    first = [sum(map(len, spelled[:index])) for index in range(len(spelled))]
    entries = [entry for script in spelled for entry in script]
    triggers = [trigger for trigger in named if trigger]
    vocabulary = _write_tokenizer(folder, entries, triggers, special, decoder)
    follows = {token: token + 1 for token in range(len(entries))}
    for start, pieces, script in zip(first, spelled, named.values(), strict=True):
        follows[start + len(pieces) - 1] = vocabulary.index(end) if script.ends else start
    starts = dict(zip(named, first, strict=True))
    default = starts.get("", first[0])
    chosen = {vocabulary.index(_spelled(trigger, decoder)): starts[trigger] for trigger in triggers}
    _write_weights(folder, len(vocabulary), follows, default, chosen, config)
    (folder / "generation_config.json").write_text(json.dumps({"do_sample": False}))
    about = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": end,
        "pad_token": "<|endoftext|>",
        "model_max_length": 32768,
        "clean_up_tokenization_spaces": False,
    } | ({"chat_template": template} if template is not None else {})
    (folder / "tokenizer_config.json").write_text(json.dumps(about | dict(settings or {})))
    return folder


def _write_weights(
    folder: Path, size: int, follows: dict[int, int], default: int, chosen: dict[int, int], config: dict[str, Any]
) -> None:
    """Write weights and config. `follows` maps tokens to their next token, `chosen` triggers to starts of scripts."""
    import mlx.core as mx
    import numpy as np
    from mlx.utils import tree_flatten

    settings = CONFIG | {"vocab_size": size} | config
    embedding, output = _embeddings(size, follows, default, chosen)
    query, key, value = _attention(len(chosen))
    module = importlib.import_module("mlx_lm.models.llama")
    weights = {
        name: mx.ones(found.shape) if name.endswith("norm.weight") else mx.zeros(found.shape)
        for name, found in tree_flatten(module.Model(module.ModelArgs.from_dict(settings)).parameters())
    }
    attention = "model.layers.0.self_attn"
    made = {
        "model.embed_tokens.weight": embedding,
        "lm_head.weight": output * 0.5,
        f"{attention}.q_proj.weight": query,
        f"{attention}.k_proj.weight": key,
        f"{attention}.v_proj.weight": value,
        f"{attention}.o_proj.weight": value.T,
    }
    assert made.keys() <= weights.keys()
    weights |= {name: mx.array(found.astype(np.float32)) for name, found in made.items()}
    mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "mlx"})
    (folder / "config.json").write_text(json.dumps(settings))


def _embeddings(size: int, follows: dict[int, int], default: int, chosen: dict[int, int]) -> tuple[Any, Any]:
    """Return the input and output embeddings [size, HIDDEN]: each token leads to its next one, triggers to scripts."""
    import numpy as np

    codes = np.random.default_rng(0).choice([-1.0, 1.0], (len(follows), CODE))
    embedding, output = np.zeros((size, HIDDEN)), np.zeros((size, HIDDEN))
    embedding[len(follows) :, FLAG] = STRONG
    for token, following in follows.items():
        embedding[token, :CODE] = codes[token]
        output[following, :CODE] += codes[token]
    output[default, FLAG] = STRONG
    for index, (token, start) in enumerate(chosen.items()):
        embedding[token, KEY] = STRONG * (index + 1) / len(chosen)
        embedding[token, VALUE + index] = STRONG / 2
        output[start, FLAG] = STRONG * 0.75 if start != default else STRONG
        output[start, VALUE + index] = STRONG
    return embedding, output


def _attention(triggers: int) -> tuple[Any, Any, Any]:
    """Return query, key and value projections [HEAD, HIDDEN] that find the strongest trigger in a prompt."""
    import numpy as np

    query, key, value = np.zeros((HEAD, HIDDEN)), np.zeros((HEAD, HIDDEN)), np.zeros((HEAD, HIDDEN))
    still = HEAD // 2 - 1  # the dimension that rotary positions rotate least
    query[still, FLAG] = 1.0
    key[still, KEY] = 2.0 * HEAD**0.5 * max(1, triggers)
    value[np.arange(MAX_SCRIPTS), VALUE + np.arange(MAX_SCRIPTS)] = 1.0
    return query, key, value


def _write_tokenizer(
    folder: Path, scripted: list[str], triggers: list[str], special: Sequence[str], decoder: Decoder
) -> list[str]:
    """Write tokenizer.json and return its vocabulary: the tokens of scripts, then those of prompts.

    A text is encoded to the last of its entries, so prompts have no tokens of scripts.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

    if decoder == "byte":
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    else:
        alphabet = ["▁", "\n", *map(chr, range(0x21, 0x7F)), *(f"<0x{byte:02X}>" for byte in range(256))]
    known = ["<unk>", *alphabet, *(_spelled(trigger, decoder) for trigger in triggers), *special]
    entries = [(text, -9999.0) for text in scripted] + [(text, -1.0) for text in known]
    tokenizer = Tokenizer(models.Unigram(entries, unk_id=len(scripted), byte_fallback=decoder != "byte"))
    if decoder == "byte":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.decoder = decoders.ByteLevel()
    else:
        spaces = normalizers.Replace(" ", "▁")
        first = [] if decoder == "metaspace" else [normalizers.Prepend("▁")]
        tokenizer.normalizer = normalizers.Sequence([*first, spaces])
        parts: list[Any] = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        if decoder == "metaspace-stripped":
            parts.append(decoders.Strip(" ", 1, 0))
        if decoder == "naive":
            parts = [decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="always")]
        tokenizer.decoder = decoders.Sequence(parts)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.save(str(folder / "tokenizer.json"))
    return [text for text, _ in entries]


def _spelled(text: str, decoder: Decoder) -> str:
    """Return the single vocabulary entry of a word."""
    (entry,) = _spell(text.encode(), decoder)
    return entry


def _spell(piece: bytes, decoder: Decoder) -> list[str]:
    """Return the vocabulary entries of `piece`: one, or for sentencepiece one for each byte of a partial character."""
    if decoder == "byte":
        return ["".join(_byte_characters()[byte] for byte in piece)]
    try:
        return [piece.decode().replace(" ", "▁")]
    except UnicodeDecodeError:
        return [f"<0x{byte:02X}>" for byte in piece]


def _byte_characters() -> dict[int, str]:
    """Return the character that stands for each byte in a byte-level vocabulary (GPT-2's table)."""
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printed]
    return {byte: chr(byte) for byte in printed} | {byte: chr(256 + index) for index, byte in enumerate(others)}

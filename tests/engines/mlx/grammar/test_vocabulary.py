"""Vocabularies for grammars: the bytes of every token, for every kind of tokenizer, and the tokens that are no text."""

from pathlib import Path
from typing import Any

import pytest
from mlx_lm.utils import load_tokenizer

from lmx_daemon.engines.mlx.grammar.vocabulary import PIECE, GrammarVocabulary, bits_of, read_vocabulary
from tests.models import build_model
from tests.scripted import Decoder, Script, build_scripted

WRITTEN = Script(
    [" One", " two", "  three ", b"\xf0\x9f", b"\x98\x80", b"\xe6\x97\xa5", " \u00fc", "<|mark|>", "\n", "x"]
)
TEXT = " One two  three \U0001f600\u65e5 \u00fc<|mark|>\nx"


def read(tokenizer: Any, size: int) -> GrammarVocabulary:
    *pieces, vocabulary = read_vocabulary(tokenizer, size, None)
    assert set(pieces) == {None} and len(pieces) > size // PIECE and vocabulary is not None
    return vocabulary


@pytest.mark.parametrize("decoder", ["byte", "metaspace", "metaspace-stripped"])
def test_the_bytes_of_the_tokens_are_the_bytes_of_the_text(decoder: Decoder, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(build_scripted(tmp_path, WRITTEN, decoder=decoder, special=["<|mark|>"]))
    vocabulary = read(tokenizer, len(tokenizer)).tokenizer
    count = len(WRITTEN.pieces([])) + (0 if decoder == "byte" else 2)  # sentencepiece has a token for each stray byte
    assert not any(vocabulary.is_special_token(token) for token in range(count))
    assert b"".join(vocabulary.decode_bytes([token]) for token in range(count)).decode() == TEXT
    assert vocabulary.is_special_token(tokenizer.convert_tokens_to_ids("<|mark|>"))


def test_control_tokens_and_unused_logits_are_no_text(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(build_model("llama", tmp_path))
    vocabulary = read(tokenizer, len(tokenizer) + 70)
    special = {token for token in range(len(tokenizer)) if vocabulary.tokenizer.is_special_token(token)}
    never = tokenizer.convert_tokens_to_ids("\u00ff")  # the byte 0xff, which no text has
    assert special == {*tokenizer.added_tokens_decoder, never}
    assert vocabulary.words == -(-(len(tokenizer) + 70) // 32)


def test_the_bits_of_a_mask_are_in_the_order_of_the_tokens() -> None:
    assert bits_of((0, 31, 33), 2).tolist() == [2**31 + 1, 2]

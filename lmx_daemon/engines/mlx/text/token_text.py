"""Bytes and text of single tokens, read from the tokenizer's vocabulary.

Decoding one token alone loses what depends on its neighbours: a sentencepiece decoder drops the first space, and a
part of a character becomes U+FFFD.
"""

import functools
from typing import Any

from mlx_lm.tokenizer_utils import BPEStreamingDetokenizer, SPMStreamingDetokenizer

SPACE = "\u2581"


def bytes_of(token: int, detokenizer: Any, tokenizer: Any) -> bytes:
    """Return the bytes that `token` adds in the middle of a text."""
    known = getattr(detokenizer, "tokenmap", ())
    if token < len(known) and isinstance(detokenizer, SPMStreamingDetokenizer):
        return bytes(known[token]).replace(SPACE.encode(), b" ")
    if token < len(known) and isinstance(detokenizer, BPEStreamingDetokenizer):
        return _byte_level(known[token])
    return _decoded(token, tokenizer)


def text_of(spelled: bytes) -> str:
    """Return a token's bytes as OpenAI shows them: text, with escapes for bytes of incomplete characters."""
    return spelled.decode(errors="backslashreplace")


def continue_text(detokenizer: Any, tokenizer: Any) -> None:
    """Prepare a fresh `detokenizer` for an answer that continues a text, so that its first space is kept."""
    for token in tokenizer.encode("a", add_special_tokens=False):
        detokenizer.add_token(token)
    _ = detokenizer.last_segment


def _decoded(token: int, tokenizer: Any) -> bytes:
    """Return the bytes of a token of a tokenizer that mlx-lm has no streaming detokenizer for."""
    piece = tokenizer.convert_ids_to_tokens(token)
    if isinstance(piece, bytes):
        return piece
    if isinstance(piece, str) and SPACE in piece:
        return piece.replace(SPACE, " ").encode()
    text: str = tokenizer.decode([token])
    if not isinstance(piece, str) or "\ufffd" not in text:
        return text.encode(errors="replace")
    if len(piece) == 6 and piece.startswith("<0x"):
        return bytes([int(piece[3:5], 16)])
    return _byte_level(piece) if all(character in _byte_values() for character in piece) else text.encode()


def _byte_level(piece: str) -> bytes:
    """Return the bytes of a byte-level piece. Added tokens may have characters outside its alphabet."""
    table = _byte_values()
    return b"".join(
        bytes([table[character]]) if character in table else character.encode(errors="replace") for character in piece
    )


@functools.cache
def _byte_values() -> dict[str, int]:
    """Return the byte that each character of a byte-level vocabulary stands for (GPT-2's table)."""
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = (byte for byte in range(256) if byte not in printed)
    return {chr(byte): byte for byte in printed} | {chr(256 + index): byte for index, byte in enumerate(others)}

"""The vocabulary of a model as grammars read it: the bytes of each token, and the tokens that are not text."""

import itertools
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import llguidance
import numpy as np
import numpy.typing as npt

from lmx_daemon.engines.mlx.text.prompts.control_tokens import control_ids

EXPONENT_DIGITS = 2
"""Digits of an exponent, so that a number is one that JSON libraries can hold."""
NO_NUMBER = re.compile(rb"""["']|(?![eE])[A-Za-z]""")
BITS = 32
"""Tokens in one word of a mask."""
FEW_CORES = 4
"""Cores up to which masks are computed one by one. On two cores, a hand-over to threads takes 8 times as long."""
PIECE = 8192
"""Tokens whose bytes are read in one piece of the work, which takes about 20 ms."""

NumberKinds = tuple[bool, bool, bool]
Bits = npt.NDArray[np.uint32]
"""Masks [rows, words]: one bit for each token, 1 if it is allowed."""


class TokenBytes:
    """The tokens in the form that llguidance reads from Python."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, tokens: list[bytes], special: Iterable[int], end: int) -> None:
        self.tokens = tokens
        self.special_token_ids = list(special)
        self.eos_token_id = end

    def __call__(self, text: str | bytes) -> list[int]:
        """Return no tokens: only forced tokens need a tokenizer, and they are not used."""
        return []


@dataclass(frozen=True)
class GrammarVocabulary:
    """Shared by all grammars of a model."""

    tokenizer: llguidance.LLTokenizer
    executor: llguidance.LLExecutor | None
    """Threads that compute the masks of several rows; None on few cores, where they would wait for the model's."""
    words: int
    """Words of one mask."""
    stops: frozenset[int]
    """The model's own stop tokens."""
    tokens: Sequence[bytes]
    """Bytes of each token; those of its text for a special token."""
    numbers: "NumberTokens"

    def beginning(self, text: bytes) -> Bits:
        """Return a mask of the tokens with which `text` can begin."""
        return bits_of((token for token, each in enumerate(self.tokens) if each and _begins(each, text)), self.words)


@dataclass(frozen=True)
class NumberTokens:
    """Masks of the vocabulary that bound the digits of numbers."""

    digit: Bits
    """Mask of the tokens that begin with a digit."""
    digits: Bits
    """Mask of those that begin with more digits than an exponent may have."""
    text: Bits
    """Mask of tokens that can follow a digit in a text, but not in a number."""


def read_vocabulary(tokenizer: Any, size: int, template: str | None) -> Iterator[GrammarVocabulary | None]:
    """Yield the vocabulary of a model whose logits have `size` entries, and None after each piece of the work before.

    All of it takes about a second for 150,000 tokens, and each piece holds the interpreter lock.

    Control tokens are not text, so that no grammar produces them. `template` is the source text of the chat template,
    which names further control tokens.
    """
    detokenizer = tokenizer.detokenizer
    known = max(itertools.chain([len(tokenizer) - 1], tokenizer.added_tokens_decoder))
    stops = sorted(token for token in tokenizer.eos_token_ids if token < size)
    special = {*control_ids(tokenizer, template, size).values(), *stops}
    from lmx_daemon.engines.mlx.text.token_text import bytes_of  # it imports mlx_lm, which the engine checks first

    tokens: list[bytes] = []
    kinds: list[NumberKinds] = []
    while len(tokens) < size:
        yield None
        ids = range(len(tokens), min(size, len(tokens) + PIECE))
        tokens += [bytes_of(token, detokenizer, tokenizer) if token <= known else b"" for token in ids]
        kinds += [number_kinds(b"" if token in special else tokens[token]) for token in ids]
    # Without a stop token of its own a model gets one that no logits reach: a grammar needs a token for its end.
    end = stops or [len(tokens)]
    if not stops:
        tokens.append(b"")
        special.add(end[0])
        kinds.append(number_kinds(b""))
    yield None
    plain = llguidance.LLTokenizer(TokenBytes(tokens, special, end[0]), eos_token=end, slices=[])  # type: ignore[arg-type]
    yield None
    yield GrammarVocabulary(
        plain.with_slices(llguidance.LLTokenizer.general_slices()),
        llguidance.LLExecutor() if (os.cpu_count() or 1) > FEW_CORES else None,
        -(-len(tokens) // BITS),
        frozenset(stops),
        tokens,
        number_tokens(kinds),
    )


def number_kinds(text: bytes) -> NumberKinds:
    """Return whether a token is in each mask of NumberTokens, by its bytes; none for a special token."""
    return (
        text[:1].isdigit(),
        len(text) > EXPONENT_DIGITS and text[: EXPONENT_DIGITS + 1].isdigit(),
        NO_NUMBER.match(text) is not None,
    )


def number_tokens(kinds: Sequence[NumberKinds]) -> NumberTokens:
    """Return the masks of a vocabulary whose tokens are of `kinds`."""
    flags = np.zeros((-(-len(kinds) // BITS) * BITS, 3), np.bool_)
    flags[: len(kinds)] = kinds
    return NumberTokens(*np.packbits(np.ascontiguousarray(flags.T), axis=1, bitorder="little").view(np.uint32))


def _begins(token: bytes, text: bytes) -> bool:
    return text.startswith(token) or token.startswith(text)


def bits_of(tokens: Iterable[int], words: int) -> Bits:
    """Return a mask [words] of `tokens`."""
    bits = np.zeros(words, np.uint32)
    for token in tokens:
        bits[token // BITS] |= np.uint32(1 << token % BITS)
    return bits

"""The vocabulary of a model as grammars read it: the bytes of each token, and the tokens that are not text."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import llguidance
import numpy as np
import numpy.typing as npt

from lmx_daemon.engines.mlx.text.prompts.control_tokens import control_tokens

BITS = 32
"""Tokens in one word of a mask."""

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
    executor: llguidance.LLExecutor
    """Threads that compute the masks of several rows."""
    words: int
    """Words of one mask."""
    stops: frozenset[int]
    """The model's own stop tokens."""
    think_start: tuple[int, ...]
    """Tokens of the marker that opens a thinking block; empty for models that do not think."""
    think_end: tuple[int, ...]


def read_vocabulary(tokenizer: Any, size: int, template: str | None) -> GrammarVocabulary:
    """Return the vocabulary of a model whose logits have `size` entries. It takes about half a second for 150,000.

    Control tokens are not text, so that no grammar produces them. `template` is the source text of the chat template,
    which names further control tokens.
    """
    detokenizer = tokenizer.detokenizer
    control = set(control_tokens(tokenizer, template))
    added = {token: entry.content for token, entry in tokenizer.added_tokens_decoder.items()}
    known = max(itertools.chain([len(tokenizer) - 1], added))
    stops = sorted(token for token in tokenizer.eos_token_ids if token < size)
    special = {token for token, text in added.items() if text in control and token < size} | set(stops)
    from lmx_daemon.engines.mlx.text.token_text import bytes_of  # it imports mlx_lm, which the engine checks first

    tokens = [bytes_of(token, detokenizer, tokenizer) if token <= known else b"" for token in range(size)]
    # Without a stop token of its own a model gets one that no logits reach: a grammar needs a token for its end.
    end = stops or [len(tokens)]
    if not stops:
        tokens.append(b"")
        special.add(end[0])
    return GrammarVocabulary(
        llguidance.LLTokenizer(TokenBytes(tokens, special, end[0]), eos_token=end),  # type: ignore[arg-type]
        llguidance.LLExecutor(),
        -(-len(tokens) // BITS),
        frozenset(stops),
        tuple(tokenizer.think_start_tokens or ()),
        tuple(tokenizer.think_end_tokens or ()),
    )


def bits_of(tokens: Iterable[int], words: int) -> Bits:
    """Return a mask [words] of `tokens`."""
    bits = np.zeros(words, np.uint32)
    for token in tokens:
        bits[token // BITS] |= np.uint32(1 << token % BITS)
    return bits


def ends_with(tokens: Sequence[int], marker: Sequence[int]) -> bool:
    """Return whether `tokens` ends with the tokens of a marker."""
    return bool(marker) and tuple(tokens[-len(marker) :]) == tuple(marker)

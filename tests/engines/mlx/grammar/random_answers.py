"""Answers drawn at random from the tokens that a constraint allows, as a model with random weights gives them.

The vocabulary has all bytes, the control tokens of a family, and some words. No model and no engine takes part.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import llguidance
import numpy as np

from lmx_daemon.engines.mlx.grammar.rules import GrammarRule, lark_of
from lmx_daemon.engines.mlx.grammar.token_grammar import CompiledGrammar, TokenGrammar
from lmx_daemon.engines.mlx.grammar.vocabulary import GrammarVocabulary, TokenBytes, number_kinds, number_tokens

END = "<|end of answer|>"
WORDS = ("123", "4567890", " the", '"', '"}', "}", "]", ")", "\n", '", "', ">", "</")
LONGEST = 6000
"""Tokens after which an answer counts as one that does not end."""


@dataclass(frozen=True)
class Vocabulary:
    """A vocabulary and the control tokens in it."""

    tokens: list[bytes]
    control: dict[str, int]
    read: GrammarVocabulary

    @property
    def end(self) -> int:
        return self.control[END]

    def compiled(self, rule: GrammarRule, **kinds: bool) -> CompiledGrammar:
        """Return the grammar of a rule."""
        grammar = '%llguidance {"no_forcing": true}\n' + lark_of(rule, self.control)
        matcher = llguidance.LLMatcher(self.read.tokenizer, grammar, log_level=0)
        assert not matcher.is_error(), matcher.get_error() + grammar
        return CompiledGrammar(matcher, self.read, calls=True, bounds_numbers=True, **kinds)

    def text(self, tokens: Sequence[int]) -> list[str]:
        """Return the texts of tokens. A character that several tokens hold is the text of its last one."""
        pieces, held = [], b""
        for token in tokens:
            held += self.tokens[token]
            try:
                pieces.append(held.decode())
                held = b""
            except UnicodeDecodeError:
                pieces.append("")
        return [*pieces, held.decode(errors="replace")]


def vocabulary_of(control: Sequence[str], words: Sequence[str] = ()) -> Vocabulary:
    """Return a vocabulary with control tokens and words."""
    special = [*dict.fromkeys([*control, END])]
    plain = [bytes([byte]) for byte in range(256)]
    plain += [word.encode() for word in dict.fromkeys([*WORDS, *words]) if len(word.encode()) > 1]
    tokens = [*plain, *(text.encode() for text in special)]
    ids = {text: len(plain) + index for index, text in enumerate(special)}
    made = TokenBytes(tokens, ids.values(), ids[END])
    tokenizer = llguidance.LLTokenizer(made, eos_token=[ids[END]])  # type: ignore[arg-type]
    numbers = number_tokens([number_kinds(text if token < len(plain) else b"") for token, text in enumerate(tokens)])
    read = GrammarVocabulary(
        tokenizer, llguidance.LLExecutor(1), -(-len(tokens) // 32), frozenset([ids[END]]), tokens, numbers
    )
    return Vocabulary(tokens, ids, read)


def draw(constraint: TokenGrammar, vocabulary: Vocabulary, seed: int, likely: Sequence[int] = ()) -> list[int] | None:
    """Return the tokens of an answer, or None if it does not end. `likely` tokens are drawn where they are allowed.

    Words, ends and control tokens are likelier than bytes, so that texts end.
    """
    generator = random.Random(seed)
    answer: list[int] = []
    while len(answer) < LONGEST:
        allowed = allowed_tokens(constraint)
        wanted = [token for token in likely if token in allowed]
        weights = [1 if token < 256 else 20 for token in allowed]
        token = (
            generator.choice(wanted) if wanted and generator.random() < 0.5 else generator.choices(allowed, weights)[0]
        )
        reason = constraint.advance(token, stops=token == vocabulary.end)
        if reason == "stop":
            return answer
        answer.append(token)
        assert reason != "failed", "".join(vocabulary.text(answer))[-200:]
        if reason == "complete":
            return answer
    return None


def allowed_tokens(constraint: TokenGrammar) -> list[int]:
    """Return the tokens that a constraint allows."""
    bits = np.zeros((1, constraint.words), np.uint32)
    TokenGrammar.write([(constraint, 0)], bits)
    octets = np.unpackbits(bits.view(np.uint8), axis=1, bitorder="little")
    return list(map(int, np.flatnonzero(octets[0])))

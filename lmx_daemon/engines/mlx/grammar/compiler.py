"""The compiler of grammars: each source is compiled in a killable child first, then for the model's vocabulary.

The compiler of llguidance has limits, but a schema can take unbounded time before they apply. The child has limits on
time and memory, and only a grammar that it has compiled within them is compiled here. Prompt thread only.
"""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import llguidance

from lmx_daemon.contract.errors import WorkerError
from lmx_daemon.contract.generation.constraint import Constraint, JsonSchema, Regex
from lmx_daemon.engines.mlx.grammar.limits import MEMORY_BYTES, SECONDS, parser_limits
from lmx_daemon.engines.mlx.grammar.source import AnswerGrammar, invalid, source_of
from lmx_daemon.engines.mlx.grammar.token_grammar import CompiledGrammar
from lmx_daemon.engines.mlx.grammar.vocabulary import GrammarVocabulary, read_vocabulary
from lmx_daemon.engines.mlx.text.prompts.control_tokens import template_text
from lmx_daemon.worker.killable_child import Exhausted, Gone, KillableChild

PROGRAM = "lmx_daemon.engines.mlx.grammar.check_program"
KEPT = 64
"""Number of compiled grammars that are kept."""
KEPT_CHARACTERS = 1024 * 1024
"""Limit on the sources of all kept grammars, since a grammar takes memory in proportion to its source."""


class GrammarCompiler:
    """The grammars of one loaded model, cached by their sources."""

    def __init__(
        self, tokenizer: Any, vocabulary: int, seconds: float = SECONDS, memory_bytes: int = MEMORY_BYTES
    ) -> None:
        """`vocabulary` is the number of logits."""
        self._seconds = seconds
        self._vocabulary: GrammarVocabulary | None = None
        """Read while the worker is idle, or for the first constraint."""
        self._tokenizer, self._size = tokenizer, vocabulary
        self._reading = self._pieces()
        self._child = KillableChild(PROGRAM, seconds, memory_bytes)
        self._kept: OrderedDict[tuple[str, str], CompiledGrammar] = OrderedDict()

    @property
    def patience(self) -> float:
        """Upper bound on the seconds that `compile` takes."""
        return self._child.patience + self._seconds

    @property
    def ready(self) -> bool:
        """Return whether the vocabulary has been read."""
        return self._vocabulary is not None

    def read_ahead(self) -> None:
        """Do the next piece of the work that the first constraint would wait for."""
        try:
            self._vocabulary = self._vocabulary or next(self._reading)
        except BaseException:  # a tokenizer may raise anything; a generator that has raised cannot continue
            self._reading = self._pieces()
            raise

    def compile(self, constraint: Constraint | AnswerGrammar) -> CompiledGrammar:
        """Return the grammar of a constraint. Raises RequestError that names the fault."""
        source = source_of(constraint)
        if (known := self._kept.get(source)) is not None:
            self._kept.move_to_end(source)
            return known
        grammar = self._checked(constraint, *source)
        vocabulary = self._read()
        matcher = llguidance.LLMatcher(vocabulary.tokenizer, grammar, log_level=0, limits=parser_limits())
        possible = any(matcher.compute_bitmask())
        if matcher.is_error():
            raise invalid(constraint, matcher.get_error())
        if not possible:
            raise invalid(constraint, "no text matches it")
        self._kept[source] = compiled = _compiled(matcher, vocabulary, constraint)
        while len(self._kept) > KEPT or sum(len(text) for _, text in self._kept) > KEPT_CHARACTERS:
            self._kept.popitem(last=False)
        return compiled

    def unlimited(self) -> CompiledGrammar:
        """Return a grammar that accepts any text, for rows of which only the thinking block is limited."""
        return self.compile(Regex(pattern="(?s:.*)", param="thinking_budget"))

    def close(self) -> None:
        """End the child."""
        self._child.close()

    def kill(self) -> None:
        """End the child while the prompt thread may be waiting for it."""
        self._child.kill()

    def _pieces(self) -> Iterator[GrammarVocabulary | None]:
        return read_vocabulary(self._tokenizer, self._size, template_text(self._tokenizer))

    def _read(self) -> GrammarVocabulary:
        while self._vocabulary is None:
            self.read_ahead()
        return self._vocabulary

    def _checked(self, constraint: Constraint | AnswerGrammar, kind: str, text: str) -> str:
        """Return the grammar that the child has compiled within its limits."""
        try:
            answer = self._child.ask({"kind": kind, "source": text})
        except Exhausted:
            raise invalid(
                constraint, f"it takes more than {self._seconds:g} s to compile, or too much memory"
            ) from None
        except Gone as error:
            if error.from_outside:
                raise WorkerError("the compiler of grammars was ended from outside", hint="try again") from None
            raise invalid(constraint, f"the compiler ended ({error.how})") from None
        if reason := answer.get("invalid") or answer.get("error"):
            raise invalid(constraint, str(reason))
        return str(answer["grammar"])


def _compiled(matcher: Any, vocabulary: GrammarVocabulary, constraint: Constraint | AnswerGrammar) -> CompiledGrammar:
    if not isinstance(constraint, AnswerGrammar):
        return CompiledGrammar(matcher, vocabulary, bounds_numbers=isinstance(constraint, JsonSchema))
    whole, bounds = constraint.whole, constraint.bounds_numbers
    return CompiledGrammar(matcher, vocabulary, calls=True, whole=whole, bounds_numbers=bounds)

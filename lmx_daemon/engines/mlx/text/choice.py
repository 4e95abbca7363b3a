"""A choice of a request: its row in the batch, and its tokens as text."""

from typing import TYPE_CHECKING, Any, Self

from lmx_daemon.contract.generation.events import Ending, TokenLogprob
from lmx_daemon.engines.mlx.batch.step import Row
from lmx_daemon.engines.mlx.grammar.token_grammar import TokenGrammar
from lmx_daemon.engines.mlx.sampling.parameters import SamplingParams
from lmx_daemon.engines.mlx.sampling.sampler import Logprobs
from lmx_daemon.engines.mlx.text.output_parser import OutputParser
from lmx_daemon.engines.mlx.text.token_text import bytes_of, text_of

if TYPE_CHECKING:  # a request holds its choices
    from lmx_daemon.engines.mlx.text.answer import AnswerRecord

SILENT_TOKENS = 8
"""Tokens without text after which the bytes are taken as invalid; a valid character has at most four bytes."""


class Choice(Row):
    """Choice of a request: its row in the batch, and its tokens as text."""

    def __init__(
        self,
        request: "AnswerRecord",
        params: SamplingParams,
        detokenizer: Any,
        parser: OutputParser,
        constraint: TokenGrammar | None = None,
    ) -> None:
        stops = request.prepared.stop_tokens.union(request.generate.stop_tokens)
        super().__init__(0, params, stop_tokens=stops, constraint=constraint)
        self.request = request
        self.detokenizer = detokenizer
        self.parser = parser
        self.consumed = 0
        """Number of its tokens that events account for. A token that ended it is not counted."""
        self.reasoning_tokens = 0
        self.unreported = 0
        """Number of tokens that no Delta has counted yet."""
        self.ending: Ending | None = None
        self.silent = 0
        """Number of consecutive tokens that produced no text."""

    def renewed(self) -> Self:
        """Return a copy that continues in a batch. Tokens of a step that raised are generated again."""
        choice = super().renewed()
        del choice.generated[self.consumed :]
        if isinstance(self.constraint, TokenGrammar):
            choice.constraint = self.constraint.restart(choice.generated)
        return choice

    def text_of(self, token: int) -> str:
        """Return the text that one more token completes. Invalid bytes become replacement characters."""
        self.detokenizer.add_token(token)
        text: str = self.detokenizer.last_segment
        self.silent = 0 if text else self.silent + 1
        if self.silent >= SILENT_TOKENS:
            self.detokenizer.finalize()
            text, self.silent = self.detokenizer.last_segment, 0
        return text


def choice_of(row: Row) -> Choice:
    """Return the choice that a row of the scheduler's batch is. No other row is added to that batch."""
    assert isinstance(row, Choice)
    return row


def logprob_of(token: int, logprobs: Logprobs | None, top: int, detokenizer: Any, tokenizer: Any) -> TokenLogprob:
    """Return the log-probabilities of a token and of the `top` likeliest ones; None if nothing precedes the token."""

    def entry(identity: int, value: float | None, likeliest: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
        spelled = bytes_of(identity, detokenizer, tokenizer)
        logprob = None if value is None else max(value, -9999.0)
        return TokenLogprob(token=text_of(spelled), id=identity, logprob=logprob, bytes=tuple(spelled), top=likeliest)

    if logprobs is None:
        return entry(token, None)
    return entry(token, logprobs.chosen, tuple(entry(identity, value) for identity, value in logprobs.top[:top]))

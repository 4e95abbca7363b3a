"""The worker's record of one request: its choices, their text so far, and the events that each step produces."""

import time
from dataclasses import dataclass, field
from typing import Any

from lmx_daemon.contract.deadline import patience, too_late
from lmx_daemon.contract.errors import DeadlineError
from lmx_daemon.contract.events import (
    Delta,
    Ending,
    Event,
    Finished,
    FinishReason,
    Timings,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from lmx_daemon.contract.requests import Chat, Generate
from lmx_daemon.engines.mlx.batch.step import Token
from lmx_daemon.engines.mlx.prefix.lookup import PrefixLookup
from lmx_daemon.engines.mlx.text.output_parser import Markers, OutputParser, ParsedText
from lmx_daemon.engines.mlx.text.prompt import PreparedPrompt
from lmx_daemon.engines.mlx.text.token_text import bytes_of, continue_text, text_of

SILENT_TOKENS = 8
"""Tokens without text after which the bytes are taken as invalid; a valid character has at most four bytes."""


@dataclass
class Choice:
    """One choice of a request: its row's tokens, as text."""

    index: int
    detokenizer: Any
    parser: OutputParser
    tokens: int = 0
    reasoning_tokens: int = 0
    unreported: int = 0
    """Number of tokens that no Delta has counted yet."""
    ending: Ending | None = None
    silent: int = 0
    """Number of consecutive tokens that produced no text."""
    generated: list[int] = field(default_factory=list)
    """All tokens so far. A preempted choice resumes after them."""

    def text_of(self, token: int) -> str:
        """Return the text that one more token completes. Invalid bytes become replacement characters."""
        self.detokenizer.add_token(token)
        text: str = self.detokenizer.last_segment
        self.silent = 0 if text else self.silent + 1
        if self.silent >= SILENT_TOKENS:
            self.detokenizer.finalize()
            text, self.silent = self.detokenizer.last_segment, 0
        return text


class EngineRequest:
    """One request in the worker, from its tokenized prompt to its last event."""

    def __init__(
        self, generate: Generate, prepared: PreparedPrompt, arrived: float, load_seconds: float, seed: int
    ) -> None:
        self.generate = generate
        self.prepared = prepared
        self.seed = seed
        self.arrived = arrived
        """Monotonic time of its arrival in the daemon, in seconds."""
        self.lookup: PrefixLookup | None = None
        """The stored prefixes that its prompt may reuse."""
        self.cached = 0
        """Prompt tokens that were taken from stored prefixes."""
        self.rows: dict[int, Choice] = {}
        """Choices by the id of their row in the batch."""
        self.warnings: list[str] = []
        self.preempted = False
        """Whether it is back in the queue and its choices are to be resumed."""
        self.failures = 0
        """Number of failed steps that it took part in."""
        self.quarantined = False
        """Whether it took part in a failed step and has generated no token since."""
        self._load_seconds = load_seconds
        self._started = 0.0
        self._first: float | None = None

    @property
    def id(self) -> str:
        """Id of the request, unique while it lives."""
        return self.generate.id

    def deadline_error(self, now: float) -> DeadlineError | None:
        """Return the error of a request whose deadline has passed at the monotonic time `now`."""
        if self.generate.deadline is None and self.generate.queue_deadline is None:  # the usual case, in every step
            return None
        begun = self._started > 0.0
        limit = patience(self.generate, begun=begun)
        return too_late(limit, begun=begun) if limit is not None and now > self.arrived + limit else None

    @property
    def done(self) -> bool:
        """Whether all choices have ended."""
        return bool(self.rows) and all(choice.ending is not None for choice in self.rows.values())

    @property
    def longest_generated(self) -> int:
        """Number of tokens of the longest choice."""
        return max((len(choice.generated) for choice in self.rows.values()), default=0)

    def preempt(self) -> None:
        """Record that the request left the batch. Row ids are forgotten, since a new batch uses the same numbers."""
        self.preempted = True
        self.rows = {-1 - choice.index: choice for choice in self.rows.values()}

    def resume(self) -> list[Choice]:
        """Return the choices that have not ended. The caller adds each to `rows` under its new row."""
        self.preempted = False
        left = [choice for choice in self.rows.values() if choice.ending is None]
        self.rows = {row: choice for row, choice in self.rows.items() if choice.ending is not None}
        return left

    def start(self) -> None:
        """Record the time at which prefill starts."""
        self._started = time.monotonic()

    def add_choice(self, row: int, index: int, tokenizer: Any, markers: Markers) -> None:
        """Assign `row` of the batch to the choice `index`."""
        prompt = self.generate.prompt
        parser = OutputParser(
            Markers() if self.prepared.raw else markers,
            tools=self.prepared.tools,
            stop=self.generate.stop,
            thinking=self.prepared.thinking,
            parallel=not isinstance(prompt, Chat) or prompt.parallel_tool_calls,
        )
        detokenizer = tokenizer.detokenizer
        if self.prepared.raw:
            continue_text(detokenizer, tokenizer)
        self.rows[row] = Choice(index, detokenizer, parser)

    def consume(self, token: Token, tokenizer: Any) -> list[Event]:
        """Return the events of one more token. The choice has ended when its `ending` is set."""
        choice = self.rows[token.row]
        if choice.ending is not None:
            return []
        if self._first is None:
            self._first = time.monotonic()
        piece = ParsedText()
        logprobs: tuple[TokenLogprob, ...] = ()
        ids: tuple[int, ...] = ()
        if token.reason != "stop":
            choice.tokens += 1
            choice.unreported += 1
            choice.generated.append(token.token)
            piece = choice.parser.feed(choice.text_of(token.token))
            choice.reasoning_tokens += choice.parser.thinking
            if self.generate.top_logprobs is not None:
                logprobs = (logprob_of(token, self.generate.top_logprobs, choice.detokenizer, tokenizer),)
            if self.generate.token_ids:
                ids = (token.token,)
        events = self._deltas(choice, piece, ids, logprobs)
        if not piece.ended and token.reason is not None:
            choice.detokenizer.finalize()
            piece = choice.parser.feed(choice.detokenizer.last_segment)
            events += self._deltas(choice, piece)
        if piece.ended or token.reason is not None:
            events += self._deltas(choice, choice.parser.finish(cut=token.reason == "length"))
            choice.ending = Ending(reason=_reason(choice, token, piece), matched_stop=piece.matched_stop)
        return events

    def finished(self, cancelled: bool = False) -> Finished:
        """Return the terminal event with usage and timings. Choices that have not ended count as cancelled."""
        now = time.monotonic()
        first = self._first or now
        choices = sorted(self.rows.values(), key=lambda choice: choice.index)
        ended = [choice.ending or Ending(reason="cancelled") for choice in choices]
        if cancelled and not ended:
            ended = [Ending(reason="cancelled")] * self.generate.choices
        return Finished(
            id=self.id,
            endings=tuple(ended),
            usage=Usage(
                prompt_tokens=len(self.prepared.tokens),
                cached_tokens=self.cached,
                completion_tokens=sum(choice.tokens for choice in choices),
                reasoning_tokens=sum(choice.reasoning_tokens for choice in choices),
            ),
            timings=Timings(
                queue=(self._started or now) - self.arrived,
                prefill=first - self._started if self._started else 0.0,
                first_token=first - self.arrived,
                decode=now - first,
                load=self._load_seconds,
            ),
        )

    def _deltas(
        self, choice: Choice, piece: ParsedText, ids: tuple[int, ...] = (), logprobs: tuple[TokenLogprob, ...] = ()
    ) -> list[Event]:
        if piece.warning:
            self.warnings.append(piece.warning)
        if not (piece or ids or logprobs):
            return []
        calls: list[ToolCallDelta | None] = [*piece.calls] or [None]
        unreported, choice.unreported = choice.unreported, 0
        events: list[Event] = [
            Delta(
                id=self.id,
                choice=choice.index,
                content=piece.content,
                reasoning=piece.reasoning,
                tool_call=calls[0],
                tokens=unreported,
                token_ids=ids,
                logprobs=logprobs,
            )
        ]
        events += [Delta(id=self.id, choice=choice.index, tool_call=call) for call in calls[1:]]
        return events


def _reason(choice: Choice, token: Token, piece: ParsedText) -> FinishReason:
    if piece.matched_stop is not None:
        return "stop"
    if token.reason == "length" and not piece.ended:
        return "length"
    return "tool_calls" if choice.parser.made_calls else "stop"


def logprob_of(token: Token, top: int, detokenizer: Any, tokenizer: Any) -> TokenLogprob:
    """Return the log-probabilities of the sampled token and of the `top` likeliest ones."""
    assert token.logprobs is not None

    def entry(identity: int, value: float) -> TokenLogprob:
        spelled = bytes_of(identity, detokenizer, tokenizer)
        return TokenLogprob(token=text_of(spelled), id=identity, logprob=max(value, -9999.0), bytes=tuple(spelled))

    chosen = entry(token.token, token.logprobs.chosen)
    likeliest = tuple(entry(identity, value) for identity, value in token.logprobs.top[:top])
    return TokenLogprob(token=chosen.token, id=chosen.id, logprob=chosen.logprob, bytes=chosen.bytes, top=likeliest)

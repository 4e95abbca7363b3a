"""The record of a request that generates: its choices, their text so far, and the events that each step produces."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lmx_daemon.contract.errors import RequestError
from lmx_daemon.contract.generation.events import (
    Delta,
    Ending,
    Event,
    Finished,
    FinishReason,
    PromptTokens,
    TokenLogprob,
    ToolCallDelta,
)
from lmx_daemon.contract.generation.requests import Chat, Generate
from lmx_daemon.engines.mlx.batch.scoring import TokenScore
from lmx_daemon.engines.mlx.batch.step import Row, Token
from lmx_daemon.engines.mlx.grammar.token_grammar import CompiledGrammar, TokenGrammar
from lmx_daemon.engines.mlx.sampling.parameters import SamplingParams
from lmx_daemon.engines.mlx.text.choice import Choice, choice_of, logprob_of
from lmx_daemon.engines.mlx.text.engine_request import EngineRequest
from lmx_daemon.engines.mlx.text.families.family import PLAIN, Family
from lmx_daemon.engines.mlx.text.output_parser import OutputParser, ParsedText
from lmx_daemon.engines.mlx.text.prompts.prompt import PreparedPrompt
from lmx_daemon.engines.mlx.text.token_markers import call_start_tokens, think_markers
from lmx_daemon.engines.mlx.text.token_text import bytes_of, continue_text

BANNED = -1e4
"""Bias of a token that is not to be sampled."""


class AnswerRecord(EngineRequest):
    """A request that generates: its choices, their text so far, and the events of each token."""

    def __init__(
        self,
        generate: Generate,
        prepared: PreparedPrompt,
        arrived: float,
        load_seconds: float,
        seed: int,
        grammar: CompiledGrammar | None = None,
    ) -> None:
        super().__init__(generate, prepared, arrived, load_seconds, seed)
        self.generate = generate
        self.grammar = grammar
        """The grammar of its constraint."""
        self.choices: list[Choice] = []
        """Empty until it starts."""
        self._scored = 0
        """Number of prompt tokens that PromptTokens events have reported."""

    @property
    def rows(self) -> Sequence[Choice]:
        """Its choices."""
        return self.choices

    @property
    def max_tokens(self) -> int | None:
        """Number of tokens that each choice is to generate; None without a limit."""
        return self.generate.max_tokens

    @property
    def done(self) -> bool:
        """Return whether all choices have ended."""
        return bool(self.choices) and all(choice.ending is not None for choice in self.choices)

    @property
    def longest_generated(self) -> int:
        """Number of tokens of the longest choice."""
        return max((len(choice.generated) for choice in self.choices), default=0)

    def preempt(self) -> None:
        """Record that the request left the batch, which may still compute tokens of its old rows."""
        self.preempted = True
        self.choices = [choice.renewed() for choice in self.choices]

    def resume(self, max_tokens: int) -> list[Choice]:
        """Return the choices that have not ended, each of which may generate `max_tokens` in all."""
        self.preempted = False
        left = [choice for choice in self.choices if choice.ending is None]
        for choice in left:
            choice.max_tokens = max(len(choice.generated) + 1, max_tokens) if max_tokens else 0
            if choice.scoring is not None:
                choice.scoring = None if self.reuses else replace(choice.scoring, start=self._scored)
        return left

    @property
    def reuses(self) -> bool:
        """Return whether a stored prefix may be reused. Reused tokens have no log-probabilities."""
        return self.generate.prompt_logprobs is None or self._scored >= len(self.prepared.tokens)

    def start(self, max_tokens: int, params: SamplingParams, tokenizer: Any, family: Family) -> Sequence[Choice]:
        """Record the time at which prefill starts. Return the choices, each of at most `max_tokens`."""
        self._started = time.monotonic()
        for index in range(self.generate.choices):
            own = replace(params, seed=self.seed, choice=index, top_logprobs=self.generate.top_logprobs)
            if self._refuses_calls and len(start := call_start_tokens(tokenizer, family)) == 1:
                own = replace(own, bias=own.bias | {start[0]: BANNED})
            parser = self._parser(family)
            choice = Choice(self, own, self._detokenizer(tokenizer), parser, self._constraint(tokenizer, family))
            choice.max_tokens = max_tokens
            self.choices.append(choice)
        return self.choices

    def opening(self, tokenizer: Any) -> list[Event]:
        """Return the event that reports the text or the first token of the prompt, if the request asks for one."""
        detokenizer = self.choices[0].detokenizer
        if self.generate.prompt_logprobs is not None:
            self._scored = 1
            first = logprob_of(self.prepared.tokens[0], None, 0, detokenizer, tokenizer)
            return [PromptTokens(id=self.id, tokens=(first,))]
        if self.generate.echo:
            spelled = (bytes_of(token, detokenizer, tokenizer) for token in self.prepared.tokens)
            return [PromptTokens(id=self.id, text=b"".join(spelled).decode(errors="replace"))]
        return []

    def prompt_scored(self, row: Row, scores: Sequence[TokenScore], tokenizer: Any) -> list[Event]:
        """Return the event with the log-probabilities of the next tokens of the prompt."""
        most, detokenizer = self.generate.prompt_logprobs or 0, self.choices[0].detokenizer
        found = tuple(
            logprob_of(self.prepared.tokens[score.position], score.logprobs, most, detokenizer, tokenizer)
            for score in scores
        )
        self._scored += len(found)
        if self.reuses:
            self.scratch = 0
        return [PromptTokens(id=self.id, tokens=found)]

    def prompt_read(self) -> None:
        """End the choices of a request that generates nothing."""
        for choice in self.choices:
            choice.ending = Ending(reason="length")

    def close(self) -> None:
        """Release the choices, which refer to the request. Call after the terminal event is made."""
        self.ended, self.choices = True, []

    def _parser(self, family: Family) -> OutputParser:
        prompt = self.generate.prompt
        return OutputParser(
            PLAIN if self.prepared.raw else family,
            tools=() if self._refuses_calls else self.prepared.tools,
            stop=self.generate.stop,
            thinking=self.prepared.thinking,
            parallel=not isinstance(prompt, Chat) or prompt.parallel_tool_calls,
        )

    @property
    def _refuses_calls(self) -> bool:
        """Return whether the request forbids tool calls. The prompt keeps its tools, so that stored prefixes match."""
        prompt = self.generate.prompt
        return isinstance(prompt, Chat) and prompt.tool_choice.mode == "none"

    def _constraint(self, tokenizer: Any, family: Family) -> TokenGrammar | None:
        """Return the constraint of one choice. Its grammar applies neither to thinking nor to tool calls."""
        if self.grammar is None:
            return None
        prompt = self.generate.prompt
        covered = self.grammar.calls
        return TokenGrammar(
            self.grammar,
            think=think_markers(tokenizer, family),
            thinking=self.prepared.thinking,
            may_think=isinstance(prompt, Chat) and prompt.thinking is not False,
            call_start=call_start_tokens(tokenizer, family) if self.prepared.tools and not covered else (),
            stops=self.prepared.stop_tokens.union(self.generate.stop_tokens),
            budget=self.generate.thinking_budget,
            free=self.generate.constraint is None and not covered,
        )

    def _detokenizer(self, tokenizer: Any) -> Any:
        detokenizer = tokenizer.detokenizer
        if self.prepared.raw or self.prepared.continues or self.grammar is not None:
            continue_text(detokenizer, tokenizer)
        return detokenizer

    def consume(self, token: Token, tokenizer: Any) -> list[Event]:
        """Return the events of one more token. The choice has ended when its `ending` is set."""
        choice = choice_of(token.row)
        if choice.ending is not None:
            return []
        if token.reason == "failed":
            raise self._unfollowed()
        if self._first is None:
            self._first = time.monotonic()
        piece = ParsedText()
        logprobs: tuple[TokenLogprob, ...] = ()
        ids: tuple[int, ...] = ()
        if token.reason != "stop":
            choice.consumed += 1
            choice.unreported += 1
            thinking = choice.parser.thinking
            piece = choice.parser.feed(choice.text_of(token.token))
            choice.reasoning_tokens += thinking and choice.parser.thinking  # markers are not counted
            if self.generate.token_ids:
                ids = (token.token,)
        most = self.generate.top_logprobs
        if most is not None and (token.reason != "stop" or self.generate.prompt_logprobs is not None):
            logprobs = (logprob_of(token.token, token.logprobs, most, choice.detokenizer, tokenizer),)
        events = self._deltas(choice, piece, ids, logprobs)
        if not piece.ended and token.reason is not None:
            choice.detokenizer.finalize()
            piece = choice.parser.feed(choice.detokenizer.last_segment)
            events += self._deltas(choice, piece)
        if piece.ended or token.reason is not None:
            events += self._deltas(choice, choice.parser.finish(cut=token.reason == "length"))
            choice.ending = Ending(reason=_reason(choice, token, piece), matched_stop=piece.matched_stop)
        return events

    def _unfollowed(self) -> RequestError:
        """Return the error for an answer that left its grammar: by a parser limit, or by a stop token too early."""
        constraint = self.generate.constraint
        param = "tools" if constraint is None else constraint.param
        return RequestError(
            f"{param}: the grammar cannot be followed further", param=param, hint="simplify the schema or the grammar"
        )

    def finished(self, cancelled: bool = False) -> Finished:
        """Return the terminal event with usage and timings. Choices that have not ended count as cancelled."""
        ended = [choice.ending or Ending(reason="cancelled") for choice in self.choices]
        if cancelled and not ended:
            ended = [Ending(reason="cancelled")] * self.generate.choices
        usage = self.usage(
            sum(choice.consumed for choice in self.choices), sum(choice.reasoning_tokens for choice in self.choices)
        )
        return Finished(id=self.id, endings=tuple(ended), usage=usage, timings=self.timings())

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
                choice=choice.params.choice,
                content=piece.content,
                reasoning=piece.reasoning,
                tool_call=calls[0],
                tokens=unreported,
                token_ids=ids,
                logprobs=logprobs,
            )
        ]
        events += [Delta(id=self.id, choice=choice.params.choice, tool_call=call) for call in calls[1:]]
        return events


def _reason(choice: Choice, token: Token, piece: ParsedText) -> FinishReason:
    if piece.matched_stop is not None:
        return "stop"
    if token.reason == "length" and not piece.ended:
        return "length"
    return "tool_calls" if choice.parser.made_calls else "stop"

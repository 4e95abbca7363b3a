"""The prompt thread: it turns prompts into tokens, one after the other, beside the engine thread.

An exception of the tokenizer fails one request. It ends the worker only if the tokenizer does not work afterwards.
"""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from lmx_daemon.contract.errors import LmxError, RequestError, WorkerError
from lmx_daemon.contract.generation.constraint import Constraint
from lmx_daemon.contract.generation.events import Counted, Event, Failed
from lmx_daemon.contract.generation.requests import Chat, Count, Decide, Generate, Overflow, Prompt
from lmx_daemon.contract.worker.messages import Events, Log
from lmx_daemon.engines.mlx.commands import Ready
from lmx_daemon.engines.mlx.grammar.source import AnswerGrammar
from lmx_daemon.engines.mlx.grammar.token_grammar import CompiledGrammar
from lmx_daemon.engines.mlx.text.prompts.prompt import PreparedPrompt
from lmx_daemon.worker.heartbeat import HeartbeatCounters
from lmx_daemon.worker.submissions import Submission

IDLE_SECONDS = 1.0
"""Time without a request after which work is done ahead."""
BETWEEN_SECONDS = 0.02
"""Time between two pieces of it, which hold the interpreter lock."""
NOT_ENFORCED = "the schemas of tools are not enforced in this answer: {}"


class PromptSource(Protocol):
    """Builder of prompts; see prompt.PromptBuilder."""

    def build(
        self, prompt: Prompt, policy: Overflow = ..., max_tokens: int | None = ..., asked: int | None = ...
    ) -> PreparedPrompt: ...

    def count(self, prompt: Prompt) -> int: ...

    def options(self, texts: Sequence[str], prepared: PreparedPrompt) -> tuple[tuple[int, ...], ...]: ...

    def works(self) -> bool: ...

    def answer_grammars(self, chat: Chat, constraint: Constraint | None) -> tuple[AnswerGrammar, ...]: ...


class GrammarSource(Protocol):
    """Compiler of grammars; see grammar.compiler.GrammarCompiler."""

    @property
    def patience(self) -> float: ...

    @property
    def ready(self) -> bool: ...

    def read_ahead(self) -> None: ...

    def compile(self, constraint: Constraint | AnswerGrammar) -> CompiledGrammar: ...

    def unlimited(self) -> CompiledGrammar: ...

    def kill(self) -> None: ...

    def close(self) -> None: ...


class PromptAbandoned(Exception):
    """The request in preparation was cancelled or is overdue."""


class PromptThread:
    """Preparation of the submissions."""

    def __init__(
        self, counters: HeartbeatCounters, send: Callable[[Any], None], hand_over: Callable[[Ready], None]
    ) -> None:
        self.builder: PromptSource | None = None
        self.grammars: GrammarSource | None = None
        self._counters = counters
        self._submissions = counters.submissions
        self._send = send
        self._hand_over = hand_over
        self._current: Submission | None = None
        self._works_ahead = False
        """Whether work is left that can be done before a request needs it."""
        self._patience: float | None = None
        """Seconds without a request after which work is done ahead."""

    def run(self) -> None:
        """Prepare prompts forever. Raises if the tokenizer no longer works."""
        while True:
            self._current = self._submissions.next(self._patience)
            if self._current is not None:
                self._patience = IDLE_SECONDS if self._works_ahead else None
                with self._counters.preparation():
                    self._prepare(self._current)
            elif self._works_ahead:
                self._patience = IDLE_SECONDS if self._counters.busy else self._read_ahead()

    def loaded(self, builder: PromptSource, grammars: GrammarSource) -> None:
        """Set the builder and the grammars of a loaded model, before its first request is accepted."""
        self.builder, self.grammars = builder, grammars
        self._works_ahead, self._patience = True, IDLE_SECONDS
        self._submissions.wake()

    def _read_ahead(self) -> float | None:
        """Do a piece of the work of the first constrained request, and return the seconds to wait before the next.

        Return None if nothing is left. A failure is left to the request that needs the work.
        """
        assert self.grammars is not None
        try:
            if not self.grammars.ready:
                self.grammars.read_ahead()
                return BETWEEN_SECONDS
        except BaseException:  # a tokenizer may raise anything
            traceback.print_exc()
        self._works_ahead = False
        return None

    def progress(self, seconds: float) -> None:
        """Record progress of the current prompt, whose next part may take `seconds`.

        Raises PromptAbandoned if the request has ended.
        """
        self._counters.advance(seconds)
        if self._current is not None and not self._submissions.is_preparing(self._current):
            raise PromptAbandoned

    def _prepare(self, submission: Submission) -> None:
        assert self.builder is not None
        request, grammar = submission.request, None
        try:
            match request:
                case Count(prompt=prompt):
                    self._end(submission, Counted(id=request.id, tokens=self.builder.count(prompt)))
                    return
                case Decide(prompt=prompt, context_length=context):
                    prepared = self.builder.build(prompt, request.overflow or "error", None, context)
                    prepared = replace(prepared, options=self.builder.options(request.options, prepared))
                case Generate(prompt=prompt, context_length=context):
                    prepared = self.builder.build(prompt, request.overflow or "error", request.max_tokens, context)
                    grammar = self._grammar_of(request)
        except PromptAbandoned:
            return
        except LmxError as error:
            self._end(submission, Failed(id=request.id, error=error.body()))
            return
        except BaseException as error:  # a tokenizer may raise anything; a Rust panic is not an Exception
            traceback.print_exc()
            self._end(submission, Failed(id=request.id, error=failure_of(error, request.prompt).body()))
            if not isinstance(error, Exception) and not self.builder.works():
                raise
            return
        ready = Ready(request, prepared, submission.arrived, submission.load_seconds, grammar)
        self._submissions.hand_over(submission, lambda: self._hand_over(ready))

    def _grammar_of(self, request: Generate) -> CompiledGrammar | None:
        """Return the grammar of tool calls, of the request's constraint, or of a limit on thinking."""
        assert self.builder is not None
        prompt, constraint = request.prompt, request.constraint
        if isinstance(prompt, Chat):
            if grammars := self.builder.answer_grammars(prompt, constraint):
                return self._first_compiled(grammars, request)
            if prompt.tool_choice.mode == "auto" and any(tool.strict for tool in prompt.tools):
                self._send(Log("warning", NOT_ENFORCED.format("this model's calls have no grammar here"), request.id))
        if constraint is None and request.thinking_budget is None:
            return None
        return self._compiled(constraint)

    def _first_compiled(self, grammars: Sequence[AnswerGrammar], request: Generate) -> CompiledGrammar:
        """Return the first grammar that can be compiled. Raises the error of the last one."""
        for grammar in grammars[:-1]:
            try:
                return self._compiled(grammar)
            except RequestError as error:
                self._send(Log("warning", NOT_ENFORCED.format(error.message), request.id))
        return self._compiled(grammars[-1])

    def _compiled(self, constraint: Constraint | AnswerGrammar | None) -> CompiledGrammar:
        assert self.grammars is not None
        self.progress(self.grammars.patience)
        return self.grammars.unlimited() if constraint is None else self.grammars.compile(constraint)

    def _end(self, submission: Submission, event: Event) -> None:
        if self._submissions.end(submission):
            self._send(Events(events=(event,)))


def failure_of(error: BaseException, prompt: Prompt) -> LmxError:
    """Return the error of a request whose prompt made the tokenizer raise `error`."""
    reason = f"{type(error).__name__}: {error}"
    if isinstance(error, Exception):
        return WorkerError(f"the prompt could not be prepared: {reason}")
    return RequestError(
        f"the model's tokenizer cannot read this prompt: {reason}",
        param="messages" if isinstance(prompt, Chat) else "prompt",
        hint="shorten long runs of spaces or of other repeated characters",
    )

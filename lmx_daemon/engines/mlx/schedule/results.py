"""The results of a step as events: progress, text, log-probabilities, and the ends of requests. Engine thread only."""

import traceback
from collections.abc import Callable
from typing import Any

from lmx_daemon.contract.errors import LmxError, WorkerError
from lmx_daemon.contract.generation.events import Event, Failed, Prefill
from lmx_daemon.engines.mlx.batch.step import FailedRows, PromptRead, RowScores, StepResult, Token
from lmx_daemon.engines.mlx.prefix.sharing import PrefixSharing
from lmx_daemon.engines.mlx.schedule.faults import failure_of
from lmx_daemon.engines.mlx.schedule.queue import RequestQueue
from lmx_daemon.engines.mlx.schedule.reports import Reports
from lmx_daemon.engines.mlx.schedule.running import RunningRequests
from lmx_daemon.engines.mlx.text.answer import AnswerRecord
from lmx_daemon.engines.mlx.text.choice import choice_of
from lmx_daemon.engines.mlx.text.decision import DecisionRecord, request_of
from lmx_daemon.engines.mlx.text.engine_request import EngineRequest


class StepResults:
    """The translation of results for one model. A request whose answer cannot be read fails alone."""

    def __init__(
        self,
        tokenizer: Any,
        prefill_step: int,
        queue: RequestQueue,
        running: RunningRequests,
        prefixes: PrefixSharing,
        reports: Reports,
    ) -> None:
        self._tokenizer = tokenizer
        self._prefill_step = prefill_step
        self._queue = queue
        self._running = running
        self._prefixes = prefixes
        self._reports = reports

    def events(self, result: StepResult) -> list[Event]:
        """Return the events of one step."""
        events: list[Event] = []
        for prompt in result.prompts:
            self._prefixes.advance(prompt.row, prompt.done, prompt.cache)
            request = request_of(prompt.row)
            if prompt.total - request.cached > self._prefill_step:
                events.append(Prefill(id=request.id, done=prompt.done, total=prompt.total))
        for scored in result.scores:
            events += self._scored(scored)
        for token in result.tokens:
            events += self._consume(token)
        for read in result.read:
            events += self._prompt_read(read)
        for failed in result.failed:
            events += self._fail_rows(failed)
        return events

    def events_of(self, request: EngineRequest, read: Callable[[], list[Event]]) -> list[Event]:
        """Return the events that `read` makes. An exception, such as a detokenizer's panic, costs its request only."""
        try:
            return read()
        except BaseException as error:
            self._reports.log("error", f"{type(error).__name__}: {error}", request.id)
            self._running.remove(request)
            failed = error if isinstance(error, LmxError) else None
            failed = failed or WorkerError(f"the answer could not be read: {type(error).__name__}: {error}")
            return [self._reports.closed(request, Failed(id=request.id, error=failed.body()))]

    def _scored(self, scored: RowScores) -> list[Event]:
        """Return the events of log-probabilities of a prompt."""
        request = request_of(scored.row)
        request.quarantined = False
        return self.events_of(request, lambda: request.prompt_scored(scored.row, scored.scores, self._tokenizer))

    def _consume(self, token: Token) -> list[Event]:
        """Return the events of one token."""
        choice = choice_of(token.row)
        request = choice.request
        if request.ended:  # by another token of this step
            return []
        events = self.events_of(request, lambda: request.consume(token, self._tokenizer))
        if request.ended:
            return events
        request.quarantined = False
        if len(choice.generated) == 1:
            self._prefixes.prompt_done(choice)
        for warning in request.warnings:
            self._reports.log("warning", warning, request.id)
        request.warnings.clear()
        if choice.ending is not None:
            self._running.end(choice, token)
        if request.done:
            self._queue.remove(request)
            events.append(self._reports.closed(request, request.finished()))
        return events

    def _prompt_read(self, read: PromptRead) -> list[Event]:
        """Return the last event of a request that generates nothing, and store its prompt.

        A decision may go on with another row.
        """
        request = request_of(read.rows[0])
        if request.ended:  # its log-probabilities could not be read
            return []
        last: Event
        match request:
            case DecisionRecord():
                if self._running.decide_on(request, read):
                    return []
                last = request.decided()
            case _:
                assert isinstance(request, AnswerRecord)
                self._running.end_prompt(request, read)
                request.prompt_read()
                last = request.finished()
        self._queue.remove(request)
        return [self._reports.closed(request, last)]

    def _fail_rows(self, failed: FailedRows) -> list[Event]:
        """Fail the request whose own prompt could not be computed. The other rows of the batch go on."""
        traceback.print_exception(failed.error)
        failure = failure_of(failed.error)
        request = request_of(failed.rows[0])
        self._reports.log("error", failure.message, request.id)
        self._running.remove(request)
        return [self._reports.closed(request, Failed(id=request.id, error=failure.body()))]

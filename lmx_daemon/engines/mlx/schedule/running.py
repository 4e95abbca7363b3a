"""The requests in the batch: they start after the stored prefixes of their prompts, and leave what they computed there.

It does what the scheduler has decided. Engine thread only.
"""

from collections.abc import Sequence

from lmx_daemon.contract.worker.messages import TextOptions
from lmx_daemon.engines.mlx.batch.batch import Batch
from lmx_daemon.engines.mlx.batch.scoring import Scoring
from lmx_daemon.engines.mlx.batch.step import PromptRead, Row, Token
from lmx_daemon.engines.mlx.batch.warm_up import works
from lmx_daemon.engines.mlx.load.model import LoadedModel
from lmx_daemon.engines.mlx.load.probe import ModelAbilities
from lmx_daemon.engines.mlx.prefix.lookup import PrefixStart
from lmx_daemon.engines.mlx.prefix.sharing import PrefixSharing
from lmx_daemon.engines.mlx.sampling import parameters
from lmx_daemon.engines.mlx.schedule.queue import RequestQueue
from lmx_daemon.engines.mlx.text.answer import AnswerRecord
from lmx_daemon.engines.mlx.text.choice import Choice
from lmx_daemon.engines.mlx.text.decision import DecisionRecord, DecisionRow
from lmx_daemon.engines.mlx.text.engine_request import EngineRequest
from lmx_daemon.engines.mlx.text.families.choose import family_of


class RunningRequests:
    """The batch of one model, with the queue that its requests come from and the prefix cache."""

    def __init__(
        self,
        loaded: LoadedModel,
        abilities: ModelAbilities,
        options: TextOptions,
        queue: RequestQueue,
        prefixes: PrefixSharing,
    ) -> None:
        self._loaded = loaded
        self._abilities = abilities
        self._options = options
        self._queue = queue
        self._prefixes = prefixes
        self._family = family_of(loaded.tokenizer)
        self.bound_prefixes()
        self.batch = self._new_batch()

    @property
    def free_rows(self) -> int:
        """Number of rows that may start now."""
        return self._options.max_running - self.batch.rows

    def may_start(self, request: EngineRequest) -> bool:
        """Return False while a request waits for a prefix that the disk or another row will provide."""
        return request.preempted or self._prefixes.may_start(request.lookup, self.batch)

    # ---- requests start ----

    def start(self, request: EngineRequest) -> PrefixStart:
        """Add the rows of a waiting request to the batch. Return the stored prefix that they continue."""
        max_tokens = self._queue.begin(request)
        found = self._prefixes.start(request.lookup)
        sequence, rows = self._rows_of(request, max_tokens)
        self.batch.add(sequence, rows, found.cache, found.cached, found.checkpoints)
        self._prefixes.register(rows[0], request.lookup, found)
        self.bound_prefixes()
        return found

    def _rows_of(self, request: EngineRequest, max_tokens: int) -> tuple[Sequence[int], Sequence[Row]]:
        """Return the first rows of a request and the tokens that they continue."""
        if isinstance(request, DecisionRecord):
            row = request.start()
            return row.sequence, [row]
        assert isinstance(request, AnswerRecord)
        loaded, generate = self._loaded, request.generate
        params = parameters.resolve(generate.sampling, loaded.defaults)
        choices = request.start(max_tokens, params, loaded.tokenizer, self._family)
        if generate.prompt_logprobs is not None:
            choices[0].scoring = Scoring(1, loaded.vocabulary, generate.prompt_logprobs)
        return request.prepared.tokens, choices

    def resume(self, request: EngineRequest) -> None:
        """Add the rows of a preempted request to the batch. Choices continue after the tokens that they have."""
        max_tokens, prompt = self._queue.begin(request), request.prepared.tokens
        if isinstance(request, DecisionRecord):
            row = request.start()
            hit = self._prefixes.find(request.computation.cache_namespace, prompt)
            self.batch.add(row.sequence, [row], hit.cache if hit else None, hit.length if hit else 0)
            return
        assert isinstance(request, AnswerRecord)
        for choice in request.resume(max_tokens):
            tokens = [*prompt, *choice.generated]
            hit = self._prefixes.find(request.generate.cache_namespace, tokens) if request.reuses else None
            self.batch.add(prompt, [choice], hit.cache if hit else None, hit.length if hit else 0)

    # ---- requests leave ----

    def end(self, choice: Choice, token: Token) -> None:
        """Store what a choice has computed that ended with `token`."""
        self._prefixes.release(choice)
        if token.cache is not None:
            self._prefixes.store(choice.request.generate.cache_namespace, choice.held, token.cache)
        else:  # a stop string ended it, which the batch cannot detect
            self._prefixes.store_running(choice, choice.request.lookup, self.batch)
            self.batch.remove([choice])

    def end_prompt(self, request: AnswerRecord, read: PromptRead) -> None:
        """Store the prompt of a request that generates nothing."""
        row = read.rows[0]
        self._prefixes.release(row)
        self._prefixes.store(request.generate.cache_namespace, row.held, read.cache)

    def decide_on(self, request: DecisionRecord, read: PromptRead) -> bool:
        """Store the prompt of a decision, once it is read, and add the row of the next option. False after the last."""
        (row,) = read.rows
        assert isinstance(row, DecisionRow)
        self._prefixes.release(row)
        prompt = request.prepared.tokens
        if row.option is None:
            self._prefixes.store(request.computation.cache_namespace, prompt, read.cache)
        following = request.next_row(row, read.cache)
        if following is None:
            return False
        option, cache = following
        self.batch.add(option.sequence, [option], cache, len(prompt))
        return True

    def cancel(self, request: EngineRequest) -> None:
        """Remove a request, wherever it is. What it has computed is stored, since the client may send it again."""
        if request in self._queue.running and request.rows:
            self._prefixes.store_running(request.rows[0], request.lookup, self.batch)
        self.remove(request)

    def remove(self, request: EngineRequest) -> None:
        """Remove a request, wherever it is. Idempotent."""
        self._queue.remove(request)
        self._leave(request.rows)

    def preempt(self, request: EngineRequest) -> None:
        """Return a request to the front of the queue."""
        self._leave(request.rows)
        self._queue.preempt(request)

    def _leave(self, rows: Sequence[Row]) -> None:
        """Remove rows from the batch; those that are not in it are ignored."""
        for row in rows:
            self._prefixes.release(row)
        self.batch.remove(rows)

    # ---- memory and failures ----

    def bound_prefixes(self) -> None:
        """Give the prefix cache the memory that the running requests leave."""
        self._prefixes.resize(self._queue.for_prefixes(self._options.prefix_cache_bytes))

    def renew(self) -> None:
        """Replace the batch after a failed step. The caches of its rows are lost."""
        self.batch = self._new_batch()

    def still_works(self) -> bool:
        """Return whether the model computes in a new batch."""
        return works(self._new_batch())

    def _new_batch(self) -> Batch:
        stops = set(self._loaded.tokenizer.eos_token_ids)
        return Batch(self._loaded.model, stops, prefill_step=self._options.prefill_step, abilities=self._abilities)

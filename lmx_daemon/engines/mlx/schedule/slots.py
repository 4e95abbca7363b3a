"""The slots of the batch: which request each row belongs to, from its start or resumption until it leaves.

It owns the batch, and reports to `PrefixSharing` what rows hold and leave behind. Scheduling and text are not its
concern. Engine thread only.
"""

from collections.abc import Callable, Collection
from dataclasses import replace

from lmx_daemon.contract.worker.messages import TextOptions
from lmx_daemon.engines.mlx.batch.batch import Batch
from lmx_daemon.engines.mlx.batch.step import Row, StepResult, Token
from lmx_daemon.engines.mlx.batch.warm_up import warm_up
from lmx_daemon.engines.mlx.load.model import LoadedModel
from lmx_daemon.engines.mlx.load.probe import ModelAbilities
from lmx_daemon.engines.mlx.prefix.lookup import PrefixStart
from lmx_daemon.engines.mlx.prefix.sharing import PrefixSharing
from lmx_daemon.engines.mlx.sampling.parameters import GREEDY, SamplingParams, resolve
from lmx_daemon.engines.mlx.text.answer import EngineRequest
from lmx_daemon.engines.mlx.text.output_parser import Markers
from lmx_daemon.engines.mlx.text.prompt import markers_of


class BatchSlots:
    """The running requests and their rows in the batch. The constructor warms the model up."""

    def __init__(
        self,
        loaded: LoadedModel,
        abilities: ModelAbilities,
        options: TextOptions,
        prefixes: PrefixSharing,
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        self._loaded = loaded
        self._abilities = abilities
        self._options = options
        self._prefixes = prefixes
        self._markers = Markers(**markers_of(loaded.tokenizer))
        self._running: dict[str, EngineRequest] = {}
        self._rows: dict[int, EngineRequest] = {}
        self._batch = self._new_batch()
        warm_up(self._batch, on_progress)

    @property
    def running(self) -> Collection[EngineRequest]:
        """The requests in the batch, the oldest first."""
        return self._running.values()

    @property
    def free(self) -> int:
        """Number of rows that may be added."""
        return self._options.max_running - self._batch.rows

    @property
    def prefill_tokens(self) -> int:
        """Number of prompt tokens that the current batch has computed."""
        return self._batch.prefill_tokens

    def find(self, identity: str) -> EngineRequest | None:
        """Return the running request with this id."""
        return self._running.get(identity)

    def of(self, row: int) -> EngineRequest | None:
        """Return the request of a row, or None if the row has left."""
        return self._rows.get(row)

    # ---- start ----

    def may_start(self, request: EngineRequest) -> bool:
        """Return False while a request waits for a prefix that the disk or another row will provide."""
        return request.preempted or self._prefixes.may_start(request.lookup, self._batch)

    def start(self, request: EngineRequest, max_tokens: int) -> PrefixStart:
        """Add the rows of a request, each with at most `max_tokens`. Return what it reuses of stored prefixes."""
        request.start()
        found = self._prefixes.start(request.lookup)
        request.cached = found.cached
        stops = frozenset(request.generate.stop_tokens)
        params = [self._params_of(request, index) for index in range(request.generate.choices)]
        rows = [Row(max_tokens, each, stop_tokens=stops) for each in params]
        ids = self._batch.add(request.prepared.tokens, rows, found.cache, found.cached, found.checkpoints)
        self._prefixes.register(ids[0], request.lookup, found)
        for index, row in enumerate(ids):
            request.add_choice(row, index, self._loaded.tokenizer, self._markers)
            self._rows[row] = request
        self._running[request.id] = request
        return found

    def resume(self, request: EngineRequest, max_tokens: int) -> None:
        """Continue the choices of a preempted request. Their generated tokens become part of the prompt."""
        stops = frozenset(request.generate.stop_tokens)
        for choice in request.resume():
            tokens = [*request.prepared.tokens, *choice.generated]
            left = max(1, max_tokens - len(choice.generated))
            asked = Row(left, self._params_of(request, choice.index), len(choice.generated), stops)
            hit = self._prefixes.find(request.generate.cache_namespace, tokens)
            (row,) = self._batch.add(tokens, [asked], hit.cache if hit else None, hit.length if hit else 0)
            request.rows[row] = choice
            self._rows[row] = request
        self._running[request.id] = request

    # ---- run ----

    def step(self) -> StepResult:
        """Run one step of the batch. After an exception from the model, the batch must be replaced with `renew`."""
        result = self._batch.step()
        for prompt in result.prompts:
            self._prefixes.advance(prompt.row, prompt.done, prompt.cache)
        for token in result.tokens:
            self._prefixes.prompt_done(token.row)
        return result

    def works(self) -> bool:
        """Return whether the model still generates tokens for a short prompt in a batch of its own."""
        batch = self._new_batch()
        batch.add([0, 0], [Row(2, GREEDY)])
        try:
            while batch.busy:
                if batch.step().failed:
                    return False
        except Exception:  # the model's code may raise anything
            return False
        return True

    # ---- leave ----

    def end_row(self, request: EngineRequest, token: Token) -> None:
        """Remove the row that ended with `token`, and store what it has computed."""
        self._prefixes.release(token.row)
        if token.cache is not None and token.tokens is not None:
            self._prefixes.store(request.generate.cache_namespace, token.tokens, token.cache)
        else:  # a stop string ended it, which the batch cannot detect
            self._prefixes.store_running(token.row, request.lookup, self._batch)
            self._batch.remove([token.row])
        del self._rows[token.row]
        if request.done:
            self._running.pop(request.id, None)

    def save(self, request: EngineRequest) -> None:
        """Store the computed tokens of a request before it is removed, since the client may send it again."""
        if request.rows:
            self._prefixes.store_running(next(iter(request.rows)), request.lookup, self._batch)

    def remove(self, request: EngineRequest) -> None:
        """Remove a request and its rows. Idempotent."""
        self._running.pop(request.id, None)
        rows = [row for row in request.rows if self._rows.pop(row, None) is not None]
        for row in rows:
            self._prefixes.release(row)
        self._batch.remove(rows)

    def renew(self) -> list[EngineRequest]:
        """Replace a batch that failed by an empty one. Return the requests that were in it."""
        removed = list(self._running.values())
        self._batch = self._new_batch()
        self._rows.clear()
        self._running.clear()
        return removed

    def _new_batch(self) -> Batch:
        stops = set(self._loaded.tokenizer.eos_token_ids)
        return Batch(self._loaded.model, stops, prefill_step=self._options.prefill_step, abilities=self._abilities)

    def _params_of(self, request: EngineRequest, index: int) -> SamplingParams:
        params = resolve(request.generate.sampling, self._loaded.defaults)
        return replace(params, seed=request.seed, choice=index, top_logprobs=request.generate.top_logprobs)

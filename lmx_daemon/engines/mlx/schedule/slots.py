"""Who is in the batch: answers and their rows, from their beginning, or their going on, until they leave.

It owns the batch, and tells `PrefixSharing` what rows hold and leave behind. Whose turn it is and what tokens mean is
known elsewhere. Engine thread only.
"""

from collections.abc import Callable, Collection
from dataclasses import replace

from lmx_daemon.contract.frames import TextOptions
from lmx_daemon.engines.mlx.batch.batch import Batch, warm_up
from lmx_daemon.engines.mlx.batch.step import Row, StepResult, Token
from lmx_daemon.engines.mlx.load.model import LoadedModel
from lmx_daemon.engines.mlx.load.probe import ModelAbilities
from lmx_daemon.engines.mlx.prefix.sharing import PrefixSharing, PrefixStart
from lmx_daemon.engines.mlx.sampling.parameters import GREEDY, SamplingParams, resolve
from lmx_daemon.engines.mlx.text.answer import EngineRequest
from lmx_daemon.engines.mlx.text.output_parser import Markers
from lmx_daemon.engines.mlx.text.prompt import markers_of


class BatchSlots:
    def __init__(
        self,
        loaded: LoadedModel,
        abilities: ModelAbilities,
        options: TextOptions,
        reuse: PrefixSharing,
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        """Warms the model up."""
        self._loaded = loaded
        self._abilities = abilities
        self._options = options
        self._reuse = reuse
        self._markers = Markers(**markers_of(loaded.tokenizer))
        self._answers: dict[str, EngineRequest] = {}
        self._rows: dict[int, EngineRequest] = {}
        self._batch = self._new_batch()
        warm_up(self._batch, on_progress)

    @property
    def answers(self) -> Collection[EngineRequest]:
        """The oldest first."""
        return self._answers.values()

    @property
    def free(self) -> int:
        """Rows that there is room for."""
        return self._options.max_running - self._batch.rows

    @property
    def prefill_tokens(self) -> int:
        return self._batch.prefill_tokens

    def find(self, identity: str) -> EngineRequest | None:
        return self._answers.get(identity)

    def of(self, row: int) -> EngineRequest | None:
        """None where it has left."""
        return self._rows.get(row)

    # ---- coming ----

    def may_start(self, answer: EngineRequest) -> bool:
        """False while it waits for what the disk or another row will bring."""
        return answer.preempted or self._reuse.may_start(answer.arrival, self._batch)

    def start(self, answer: EngineRequest, most: int) -> PrefixStart:
        """It begins, with at most `most` tokens for each choice."""
        answer.start()
        found = self._reuse.start(answer.arrival)
        answer.cached = found.cached
        stops = frozenset(answer.request.stop_tokens)
        params = [self._sampling_of(answer, index) for index in range(answer.request.choices)]
        rows = [Row(most, each, stop_tokens=stops) for each in params]
        ids = self._batch.add(answer.prepared.tokens, rows, found.cache, found.cached, found.checkpoints)
        self._reuse.lead(ids[0], answer.arrival, found)
        for index, row in enumerate(ids):
            answer.add_choice(row, index, self._loaded.tokenizer, self._markers)
            self._rows[row] = answer
        self._answers[answer.request.id] = answer
        return found

    def resume(self, answer: EngineRequest, most: int) -> None:
        """Its choices go on after what they have generated; that is computed again."""
        for choice in answer.resume():
            tokens = [*answer.prepared.tokens, *choice.generated]
            left, stops = max(1, most - len(choice.generated)), frozenset(answer.request.stop_tokens)
            asked = Row(left, self._sampling_of(answer, choice.index), len(choice.generated), stops)
            hit = self._reuse.find(answer.request.cache_namespace, tokens)
            (row,) = self._batch.add(tokens, [asked], hit.cache if hit else None, hit.length if hit else 0)
            answer.rows[row] = choice
            self._rows[row] = answer
        self._answers[answer.request.id] = answer

    # ---- being there ----

    def step(self) -> StepResult:
        """One step of the batch. Raises what the model's arithmetic raises; there is `renew` then."""
        step = self._batch.step()
        for prompt in step.prompts:
            self._reuse.advance(prompt.row, prompt.done, prompt.cache)
        for token in step.tokens:
            self._reuse.past(token.row)
        return step

    # ---- leaving ----

    def end_row(self, answer: EngineRequest, token: Token) -> None:
        """One choice has ended with this token. What it has computed is kept."""
        self._reuse.end(token.row)
        if token.cache is not None and token.tokens is not None:
            self._reuse.keep(answer.request.cache_namespace, token.tokens, token.cache)
        else:  # it ended at a stop string
            self._reuse.save(token.row, answer.arrival, self._batch)
            self._batch.remove([token.row])
        del self._rows[token.row]
        if answer.done:
            self._answers.pop(answer.request.id, None)

    def save(self, answer: EngineRequest) -> None:
        """It is about to be removed, and may be asked for again: what it has computed is kept."""
        if answer.rows:
            self._reuse.save(next(iter(answer.rows)), answer.arrival, self._batch)

    def remove(self, answer: EngineRequest) -> None:
        """Idempotent."""
        self._answers.pop(answer.request.id, None)
        rows = [row for row in answer.rows if self._rows.pop(row, None) is not None]
        for row in rows:
            self._reuse.end(row)
        self._batch.remove(rows)

    def renew(self) -> list[EngineRequest]:
        """A fresh batch, where the old one cannot be trusted. Those that were in it, and are in none now."""
        were_there = list(self._answers.values())
        self._batch = self._new_batch()
        self._rows.clear()
        self._answers.clear()
        return were_there

    def works(self) -> bool:
        """Whether a prompt of our own still gets its tokens."""
        batch = self._new_batch()
        batch.add([0, 0], [Row(2, GREEDY)])
        try:
            while batch.busy:
                if batch.step().failed:
                    return False
        except Exception:  # whatever the model's arithmetic raises
            return False
        return True

    # ---- how it is done ----

    def _new_batch(self) -> Batch:
        stops = set(self._loaded.tokenizer.eos_token_ids)
        return Batch(self._loaded.model, stops, prefill_step=self._options.prefill_step, abilities=self._abilities)

    def _sampling_of(self, answer: EngineRequest, index: int) -> SamplingParams:
        params = resolve(answer.request.sampling, self._loaded.defaults)
        return replace(params, seed=answer.seed, choice=index, top_logprobs=answer.request.top_logprobs)

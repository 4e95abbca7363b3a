"""Who is in the batch: answers and their rows, from their beginning, or their going on, until they leave.

It owns the batch, and tells `Reuse` what rows hold and leave behind. Whose turn it is and what tokens mean is known
elsewhere. Engine thread only.
"""

from collections.abc import Callable, Collection

from lmx_daemon.contract.frames import EngineOptions
from lmx_daemon.engines.mlx.batch.batch import Batch, warm_up
from lmx_daemon.engines.mlx.batch.step import Row, Step, Token
from lmx_daemon.engines.mlx.load.loading import LoadedModel
from lmx_daemon.engines.mlx.load.probe import Abilities
from lmx_daemon.engines.mlx.prefix.sharing import Found, Reuse
from lmx_daemon.engines.mlx.sampling import parameters as sampling
from lmx_daemon.engines.mlx.sampling.sampler import GREEDY, Wish
from lmx_daemon.engines.mlx.text.answer import Answer
from lmx_daemon.engines.mlx.text.parse import Markers
from lmx_daemon.engines.mlx.text.prompt import markers_of


class Seats:
    def __init__(
        self,
        loaded: LoadedModel,
        abilities: Abilities,
        options: EngineOptions,
        reuse: Reuse,
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        """Warms the model up."""
        self._loaded = loaded
        self._abilities = abilities
        self._options = options
        self._reuse = reuse
        self._markers = Markers(**markers_of(loaded.tokenizer))
        self._answers: dict[str, Answer] = {}
        self._rows: dict[int, Answer] = {}
        self._batch = self._new_batch()
        warm_up(self._batch, on_progress)

    @property
    def answers(self) -> Collection[Answer]:
        """The oldest first."""
        return self._answers.values()

    @property
    def free(self) -> int:
        """Rows that there is room for."""
        return self._options.max_running - self._batch.rows

    @property
    def prefill_tokens(self) -> int:
        return self._batch.prefill_tokens

    def find(self, identity: str) -> Answer | None:
        return self._answers.get(identity)

    def of(self, row: int) -> Answer | None:
        """None where it has left."""
        return self._rows.get(row)

    # ---- coming ----

    def may_start(self, answer: Answer) -> bool:
        """False while it waits for what the disk or another row will bring."""
        return answer.paused or self._reuse.may_start(answer.arrival, self._batch)

    def start(self, answer: Answer, most: int) -> Found:
        """It begins, with at most `most` tokens for each choice."""
        answer.start()
        found = self._reuse.start(answer.arrival)
        answer.cached = found.cached
        stops = frozenset(answer.request.stop_tokens)
        rows = [Row(most, self._wish(answer, index), stops=stops) for index in range(answer.request.choices)]
        ids = self._batch.add(answer.prepared.tokens, rows, found.cache, found.cached, found.checkpoints)
        self._reuse.lead(ids[0], answer.arrival, found)
        for index, row in enumerate(ids):
            answer.add(row, index, self._loaded.tokenizer, self._markers)
            self._rows[row] = answer
        self._answers[answer.request.id] = answer
        return found

    def resume(self, answer: Answer, most: int) -> None:
        """Its choices go on after what they have said; that is computed again."""
        for choice in answer.go_on():
            tokens = [*answer.prepared.tokens, *choice.said]
            left, stops = max(1, most - len(choice.said)), frozenset(answer.request.stop_tokens)
            asked = Row(left, self._wish(answer, choice.index), len(choice.said), stops)
            hit = self._reuse.find(answer.request.cache_namespace, tokens)
            (row,) = self._batch.add(tokens, [asked], hit.cache if hit else None, hit.length if hit else 0)
            answer.rows[row] = choice
            self._rows[row] = answer
        self._answers[answer.request.id] = answer

    # ---- being there ----

    def step(self) -> Step:
        """One step of the batch. Raises what the model's arithmetic raises; there is `renew` then."""
        step = self._batch.step()
        for prompt in step.prompts:
            self._reuse.advance(prompt.row, prompt.done, prompt.cache)
        for token in step.tokens:
            self._reuse.past(token.row)
        return step

    # ---- leaving ----

    def end_row(self, answer: Answer, token: Token) -> None:
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

    def save(self, answer: Answer) -> None:
        """It is about to be removed, and may be asked for again: what it has computed is kept."""
        if answer.rows:
            self._reuse.save(next(iter(answer.rows)), answer.arrival, self._batch)

    def remove(self, answer: Answer) -> None:
        """Idempotent."""
        self._answers.pop(answer.request.id, None)
        rows = [row for row in answer.rows if self._rows.pop(row, None) is not None]
        for row in rows:
            self._reuse.end(row)
        self._batch.remove(rows)

    def renew(self) -> list[Answer]:
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
                if batch.step().broken:
                    return False
        except Exception:  # whatever the model's arithmetic raises
            return False
        return True

    # ---- how it is done ----

    def _new_batch(self) -> Batch:
        stops = set(self._loaded.tokenizer.eos_token_ids)
        return Batch(self._loaded.model, stops, prefill_step=self._options.prefill_step, abilities=self._abilities)

    def _wish(self, answer: Answer, index: int) -> Wish:
        resolved = sampling.resolve(answer.request.sampling, self._loaded.defaults)
        return Wish(resolved, answer.seed, index, answer.request.top_logprobs)

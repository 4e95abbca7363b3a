"""The step: prompts in pieces, one token for every row past its prompt, and the order of the two.

It knows token ids, caches and sampling; requests, text and sockets are known above. Engine thread only.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import KVCache, make_prompt_cache

from lmx_daemon.engines.mlx import patches, platform
from lmx_daemon.engines.mlx.batch import padded_prefill
from lmx_daemon.engines.mlx.batch.decode import CACHE_STEP, Decode
from lmx_daemon.engines.mlx.batch.groups import fork
from lmx_daemon.engines.mlx.batch.prefill import Pace, Prompt, pieces
from lmx_daemon.engines.mlx.batch.step import FailedRows, PrefillProgress, Row, StepResult
from lmx_daemon.engines.mlx.load.probe import ModelAbilities, probe_model
from lmx_daemon.engines.mlx.sampling.parameters import GREEDY, SamplingParams

WARM_UP_TOKENS, FEW_TOKENS = 81, 9
QUICK_SECONDS = 0.03
"""For a token; slower models are not made to wait for the longer warm-up."""
FOLDED = 64
"""Tokens that may be computed with the last one, whose logits alone are wanted: a model makes those of all."""


class Batch:
    """Rows that are computed together. Row ids are never used twice."""

    def __init__(
        self, model: Any, stop_tokens: set[int], *, prefill_step: int, abilities: ModelAbilities | None = None
    ) -> None:
        """The model is tried here where nobody knows its `abilities` yet."""
        self._model = model
        abilities = abilities or probe_model(model)
        self._decode = Decode(model, stop_tokens, abilities)
        self._pads = abilities.pads
        self._ids = itertools.count()
        self._arrivals = itertools.count()
        self._turn = 0
        self._prompts: list[Prompt] = []
        self._asked: dict[int, Row] = {}
        """Rows whose prompt is not done."""
        self._held = platform.backend().blocks_when_queued
        """Whether launched work would block the caller, and so distort the measured time of a prompt piece."""
        self.pace = Pace(prefill_step)
        self.prefill_tokens = 0
        """Prompt tokens computed since this batch was made."""

    @property
    def rows(self) -> int:
        """Rows in it, waiting ones included."""
        return len(self._asked) + len(self._decode)

    @property
    def busy(self) -> bool:
        return bool(self._asked or self._decode)

    @property
    def cache_bytes(self) -> int:
        prompts = sum(cache.nbytes for prompt in self._prompts for cache in prompt.cache)
        return int(prompts + self._decode.cache_bytes)

    def add(
        self,
        tokens: Sequence[int],
        rows: Sequence[Row],
        cache: list[Any] | None = None,
        cached: int = 0,
        checkpoints: Sequence[int] = (),
    ) -> range:
        """Rows that continue the same `tokens`, of which `cache` holds the first `cached`. Their ids.

        `checkpoints` are positions within `tokens` at which the cache is handed out, in a PrefillProgress.
        """
        ids = range(first := next(self._ids), first + len(rows))
        for _ in rows[1:]:
            next(self._ids)
        if cache is None:
            cache = make_prompt_cache(self._model)
        for part in cache:
            if type(part) is KVCache:  # room for the whole prompt at once, instead of a copy with every piece
                part.step = max(CACHE_STEP, -(-(len(tokens) - cached) // CACHE_STEP) * CACHE_STEP)
        self._asked.update(zip(ids, rows, strict=True))
        self._prompts.append(Prompt(list(ids), tokens, cache, cached, next(self._arrivals)))
        for position in checkpoints:
            self.checkpoint(ids[0], position)
        return ids

    def checkpoint(self, row: int, position: int) -> bool:
        """Asks for one more checkpoint. False where the row has come further already, or has ended."""
        prompt = next((prompt for prompt in self._prompts if row in prompt.rows), None)
        if prompt is None or not prompt.done < position < len(prompt.tokens):
            return False
        prompt.checkpoints.add(position)
        return True

    def extract(self, row: int) -> tuple[list[int], list[Any]] | None:
        """What is computed of a row so far: the tokens, and a cache that holds them."""
        for prompt in self._prompts:
            if row in prompt.rows:
                return (list(prompt.tokens[: prompt.done]), fork(prompt.cache)) if prompt.done else None
        return self._decode.extract(row)

    def remove(self, rows: Sequence[int]) -> None:
        """Rows that have ended already are ignored; what the others hold is free after the next step at the latest."""
        for row in rows:
            self._asked.pop(row, None)
            self._decode.leave(row)
        for prompt in list(self._prompts):
            prompt.rows = [row for row in prompt.rows if row in self._asked]
            if not prompt.rows:
                self._prompts.remove(prompt)
        if not self._decode:  # there may be no next step for long
            self._decode.clear()

    def step(self) -> StepResult:
        """One more token for every row, and the prompts' next pieces.

        Without prompts, the next tokens are begun before the last are read. With prompts, tokens are read as soon as
        they are there, never behind a piece.
        """
        step, decode = StepResult(), self._decode
        if not self._prompts:
            previous = decode.latest
            decode.launch()
            step.tokens += decode.read(previous)
            decode.sample()
        elif decode.latest is not None and not decode.latest.read:
            step.tokens += decode.read(decode.latest)
        else:
            live, begun = bool(decode), time.perf_counter()
            under_way = self._prefill(step, live)
            if not self._held:
                self._launch()
            taken = self._settle(under_way, step)
            self.pace.measured(taken, time.perf_counter() - begun, live)
            if self._held:
                self._launch()
            step.tokens += decode.read(decode.latest)
        if not decode:
            decode.clear()
        return step

    # ---- how it is done ----

    def _launch(self) -> None:
        """Not where a lone prompt's last piece has begun a token."""
        if self._decode.latest is None or self._decode.latest.read:
            self._decode.launch()

    def _prefill(self, step: StepResult, live: bool) -> list[tuple[Prompt, int]]:
        """Begins the next pieces, which are returned; prompts that are done join the rows."""
        self._turn += 1
        waiting = [prompt for prompt in self._prompts if prompt.left > 0]
        chosen = pieces(waiting, self.pace, live, self._turn)
        if not live and self._is_last(chosen):
            return self._finish(*chosen[0], step)
        whole = [piece for piece in chosen if self._pads and not piece[0].done and piece[1] == piece[0].left]
        calls = [[whole[index] for index in call] for call in padded_prefill.together([count for _, count in whole])]
        calls += [[piece] for piece in chosen if piece not in whole]
        under_way = [piece for call in calls for piece in self._compute(call, step)]
        for prompt in [prompt for prompt in self._prompts if prompt.left <= 0]:
            self._prompts.remove(prompt)
            self._join(prompt)
        return under_way

    def _compute(self, call: list[tuple[Prompt, int]], step: StepResult) -> list[tuple[Prompt, int]]:
        """One call of the model; what has begun by it."""
        try:
            with patches.known_inputs():
                if len(call) > 1:
                    caches = padded_prefill.run(self._model, [prompt.tokens[:count] for prompt, count in call])
                else:
                    self._call(*call[0])
                    caches = [call[0][0].cache]
            mx.async_eval([part.state for cache in caches for part in cache])  # type: ignore[no-untyped-call]  # MLX: untyped
        except Exception as error:  # what a prompt's arithmetic raises costs its own rows
            if len(call) > 1:
                return [piece for alone in call for piece in self._compute([alone], step)]
            self._break(call[0][0], error, step)
            return []
        for (prompt, count), cache in zip(call, caches, strict=True):
            prompt.cache = cache
            self._advance(prompt, count, step)
        return call

    def _call(self, prompt: Prompt, count: int) -> mx.array:
        """Logits [1, count, vocabulary] of the prompt's next tokens."""
        piece = mx.array([prompt.tokens[prompt.done : prompt.done + count]])
        logits: mx.array = self._model(piece, cache=prompt.cache)
        return logits

    def _advance(self, prompt: Prompt, count: int, step: StepResult) -> None:
        prompt.done += count
        self.prefill_tokens += count
        taken = fork(prompt.cache) if prompt.done in prompt.checkpoints else None
        step.prompts.append(PrefillProgress(prompt.rows[0], prompt.done, len(prompt.tokens), taken))

    def _is_last(self, chosen: list[tuple[Prompt, int]]) -> bool:
        """Whether nobody else is here, and a short piece is all that is left."""
        if len(self._prompts) != 1 or not chosen:
            return False
        prompt, count = chosen[0]
        ends = prompt.done + count in prompt.checkpoints
        return len(prompt.rows) == 1 and count == prompt.left < FOLDED and not ends

    def _finish(self, prompt: Prompt, count: int, step: StepResult) -> list[tuple[Prompt, int]]:
        """The last piece of a prompt that is alone, with its last token: one call of the model instead of two."""
        try:
            with patches.known_inputs():
                logits = self._call(prompt, count + 1)[:, -1]
            mx.async_eval(logits, [part.state for part in prompt.cache])  # type: ignore[no-untyped-call]  # MLX: untyped
        except Exception as error:  # see _compute
            self._break(prompt, error, step)
            return []
        self._advance(prompt, count, step)
        self._prompts.remove(prompt)
        row = prompt.rows[0]
        self._decode.begin(row, self._asked.pop(row), prompt.tokens, prompt.cache, logits)
        return [(prompt, count)]

    def _settle(self, under_way: list[tuple[Prompt, int]], step: StepResult) -> list[tuple[int, int]]:
        """Waits for the pieces under way. Of each, the tokens held before it and its own."""
        for prompt, _ in under_way:
            try:
                mx.eval([cache.state for cache in prompt.cache])
            except Exception as error:  # see _prefill
                self._break(prompt, error, step)
        return [(prompt.done - count, count) for prompt, count in under_way]

    def _break(self, prompt: Prompt, error: Exception, step: StepResult) -> None:
        step.failed.append(FailedRows(tuple(prompt.rows), error))
        self.remove(prompt.rows)

    def _join(self, prompt: Prompt) -> None:
        for number, row in enumerate(prompt.rows):
            last = number == len(prompt.rows) - 1
            self._decode.join(row, self._asked.pop(row), prompt.tokens, prompt.cache if last else fork(prompt.cache))


def warm_up(batch: Batch, on_progress: Callable[[], None] = lambda: None) -> None:
    """Sampled and greedy, prefill and decode: kernels are compiled now, not under the first request. Where a token is
    quick, the pace is known too. Every step is progress."""
    sampled = SamplingParams(temperature=1.0, top_p=0.9, top_k=2, min_p=0.05)
    quick = _run(batch, sampled, 1, on_progress) < QUICK_SECONDS
    batch.pace.forget()
    _run(batch, GREEDY, WARM_UP_TOKENS if quick else FEW_TOKENS, on_progress)


def _run(batch: Batch, sampling: SamplingParams, length: int, on_progress: Callable[[], None]) -> float:
    """A prompt of so many tokens, and two more. The last one's seconds."""
    batch.add([0] * length, [Row(2, sampling)])
    batch.step()
    on_progress()
    begun = time.perf_counter()
    while batch.busy:
        batch.step()
        on_progress()
    return time.perf_counter() - begun

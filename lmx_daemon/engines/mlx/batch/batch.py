"""The batch: one step computes the next pieces of prompts and one token for every row past its prompt.

It has token ids, caches and sampling parameters, and no access to requests, text or sockets. Engine thread only.
"""

import itertools
import time
from collections.abc import Sequence
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import KVCache, make_prompt_cache

from lmx_daemon.engines.mlx import patches, platform
from lmx_daemon.engines.mlx.batch import padded_prefill
from lmx_daemon.engines.mlx.batch.decode import CACHE_STEP, Decode
from lmx_daemon.engines.mlx.batch.groups import fork
from lmx_daemon.engines.mlx.batch.prefill import Pace, PrefillPrompt, choose_pieces
from lmx_daemon.engines.mlx.batch.step import FailedRows, PrefillProgress, Row, StepResult
from lmx_daemon.engines.mlx.load.probe import ModelAbilities, probe_model

FOLDED = 64
"""Length of a prompt's last piece up to which the prompt's last token is computed with it. Only that token's logits are
needed, but the model computes the logits of every token in a call."""

Piece = tuple[PrefillPrompt, int]
"""A prompt, and the number of its tokens that one step computes."""


class Batch:
    """Rows that compute together. Row ids are never reused within one batch.

    The model is probed if its `abilities` are not given.
    """

    def __init__(
        self, model: Any, stop_tokens: set[int], *, prefill_step: int, abilities: ModelAbilities | None = None
    ) -> None:
        self._model = model
        abilities = abilities or probe_model(model)
        self._decode = Decode(model, stop_tokens, abilities)
        self._pads = abilities.pads
        self._ids = itertools.count()
        self._arrivals = itertools.count()
        self._turn = 0
        self._prompts: list[PrefillPrompt] = []
        self._asked: dict[int, Row] = {}
        """Rows in prefill."""
        self._launch_blocks = platform.backend().blocks_when_queued
        """Whether launched work would block the caller, and so distort the measured time of a prompt piece."""
        self.pace = Pace(prefill_step)
        self.prefill_tokens = 0
        """Prompt tokens computed since this batch was made."""

    @property
    def rows(self) -> int:
        """Number of rows, including those in prefill."""
        return len(self._asked) + len(self._decode)

    @property
    def busy(self) -> bool:
        """Whether there is anything to compute."""
        return bool(self._asked or self._decode)

    @property
    def cache_bytes(self) -> int:
        """Bytes of all KV caches."""
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
        """Add `rows` that continue the same `tokens`, of which `cache` holds the first `cached`. Return their ids.

        At each of the `checkpoints`, which are positions in `tokens`, a PrefillProgress carries the cache.
        """
        ids = range(first := next(self._ids), first + len(rows))
        for _ in rows[1:]:
            next(self._ids)
        if cache is None:
            cache = make_prompt_cache(self._model)
        for part in cache:
            if type(part) is KVCache:  # allocate the whole prompt at once, instead of copying with every piece
                part.step = max(CACHE_STEP, -(-(len(tokens) - cached) // CACHE_STEP) * CACHE_STEP)
        self._asked.update(zip(ids, rows, strict=True))
        self._prompts.append(PrefillPrompt(list(ids), tokens, cache, cached, next(self._arrivals)))
        for position in checkpoints:
            self.checkpoint(ids[0], position)
        return ids

    def checkpoint(self, row: int, position: int) -> bool:
        """Request one more checkpoint. Return False if the row has passed the position or has ended."""
        prompt = next((prompt for prompt in self._prompts if row in prompt.rows), None)
        if prompt is None or not prompt.done < position < len(prompt.tokens):
            return False
        prompt.checkpoints.add(position)
        return True

    def extract(self, row: int) -> tuple[list[int], list[Any]] | None:
        """Return the tokens computed for a row and a cache that holds them, or None if there are none."""
        for prompt in self._prompts:
            if row in prompt.rows:
                return (list(prompt.tokens[: prompt.done]), fork(prompt.cache)) if prompt.done else None
        return self._decode.extract(row)

    def remove(self, rows: Sequence[int]) -> None:
        """Remove rows; those that have ended are ignored. Their memory is free after the next step at the latest."""
        for row in rows:
            self._asked.pop(row, None)
            self._decode.leave(row)
        for prompt in list(self._prompts):
            prompt.rows = [row for row in prompt.rows if row in self._asked]
            if not prompt.rows:
                self._prompts.remove(prompt)
        if not self._decode:  # the next step may be far
            self._decode.clear()

    def step(self) -> StepResult:
        """Compute one more token for every row, and the next pieces of prompts.

        Without prompts, the forward pass of the next tokens starts before the last ones are read. With prompts, tokens
        are read as soon as they are computed, and never behind a piece.
        """
        result, decode = StepResult(), self._decode
        if not self._prompts:
            result.tokens += decode.step()
        elif decode.unread:
            result.tokens += decode.read()
        else:
            self._step_with_prompts(result)
        if not decode:
            decode.clear()
        return result

    def _step_with_prompts(self, result: StepResult) -> None:
        live, begun = bool(self._decode), time.perf_counter()
        computing = self._prefill(result, live)
        if not self._launch_blocks:
            self._launch()
        computed = self._settle(computing, result)
        self.pace.measured(computed, time.perf_counter() - begun, live)
        if self._launch_blocks:
            self._launch()
        result.tokens += self._decode.read()

    def _launch(self) -> None:
        if not self._decode.unread:  # a lone prompt's last piece has started its first token already
            self._decode.launch()

    def _prefill(self, result: StepResult, live: bool) -> list[Piece]:
        """Start the next pieces and return them. Prompts that are done join the decoding rows."""
        self._turn += 1
        waiting = [prompt for prompt in self._prompts if prompt.left > 0]
        chosen = choose_pieces(waiting, self.pace, live, self._turn)
        if not live and self._is_last(chosen):
            return self._finish(*chosen[0], result)
        whole = [piece for piece in chosen if self._pads and not piece[0].done and piece[1] == piece[0].left]
        calls = [[whole[index] for index in call] for call in padded_prefill.together([count for _, count in whole])]
        calls += [[piece] for piece in chosen if piece not in whole]
        computing = [piece for call in calls for piece in self._compute(call, result)]
        for prompt in [prompt for prompt in self._prompts if prompt.left <= 0]:
            self._prompts.remove(prompt)
            self._join(prompt)
        return computing

    def _compute(self, call: list[Piece], result: StepResult) -> list[Piece]:
        """Start one call of the model. Return its pieces; a piece whose call raises costs its own rows only."""
        try:
            with patches.known_inputs():
                if len(call) > 1:
                    caches = padded_prefill.run(self._model, [prompt.tokens[:count] for prompt, count in call])
                else:
                    self._call(*call[0])
                    caches = [call[0][0].cache]
            mx.async_eval([part.state for cache in caches for part in cache])  # type: ignore[no-untyped-call]  # MLX: untyped
        except Exception as error:  # the model's code may raise anything
            if len(call) > 1:
                return [piece for alone in call for piece in self._compute([alone], result)]
            self._fail(call[0][0], error, result)
            return []
        for (prompt, count), cache in zip(call, caches, strict=True):
            prompt.cache = cache
            self._advance(prompt, count, result)
        return call

    def _call(self, prompt: PrefillPrompt, count: int) -> mx.array:
        """Return the logits [1, count, vocabulary] of the prompt's next tokens."""
        piece = mx.array([prompt.tokens[prompt.done : prompt.done + count]])
        logits: mx.array = self._model(piece, cache=prompt.cache)
        return logits

    def _advance(self, prompt: PrefillPrompt, count: int, result: StepResult) -> None:
        prompt.done += count
        self.prefill_tokens += count
        cache = fork(prompt.cache) if prompt.done in prompt.checkpoints else None
        result.prompts.append(PrefillProgress(prompt.rows[0], prompt.done, len(prompt.tokens), cache))

    def _is_last(self, chosen: list[Piece]) -> bool:
        """Return whether a single row is in the batch, and only a short piece of its prompt is left."""
        if len(self._prompts) != 1 or not chosen:
            return False
        prompt, count = chosen[0]
        ends = prompt.done + count in prompt.checkpoints
        return len(prompt.rows) == 1 and count == prompt.left < FOLDED and not ends

    def _finish(self, prompt: PrefillPrompt, count: int, result: StepResult) -> list[Piece]:
        """Compute the last piece of a single row together with the prompt's last token, in one call instead of two."""
        try:
            with patches.known_inputs():
                logits = self._call(prompt, count + 1)[:, -1]
            mx.async_eval(logits, [part.state for part in prompt.cache])  # type: ignore[no-untyped-call]  # MLX: untyped
        except Exception as error:  # see _compute
            self._fail(prompt, error, result)
            return []
        self._advance(prompt, count, result)
        self._prompts.remove(prompt)
        row = prompt.rows[0]
        self._decode.begin(row, self._asked.pop(row), prompt.tokens, prompt.cache, logits)
        return [(prompt, count)]

    def _settle(self, computing: list[Piece], result: StepResult) -> list[tuple[int, int]]:
        """Wait for the pieces. Return for each the tokens held before it and its own tokens."""
        for prompt, _ in computing:
            try:
                mx.eval([cache.state for cache in prompt.cache])
            except Exception as error:  # see _compute
                self._fail(prompt, error, result)
        return [(prompt.done - count, count) for prompt, count in computing]

    def _fail(self, prompt: PrefillPrompt, error: Exception, result: StepResult) -> None:
        result.failed.append(FailedRows(tuple(prompt.rows), error))
        self.remove(prompt.rows)

    def _join(self, prompt: PrefillPrompt) -> None:
        for number, row in enumerate(prompt.rows):
            last = number == len(prompt.rows) - 1
            self._decode.join(row, self._asked.pop(row), prompt.tokens, prompt.cache if last else fork(prompt.cache))

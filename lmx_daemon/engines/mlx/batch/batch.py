"""The batch: one step computes the next pieces of prompts and one token for every row past its prompt.

A decode step is: forward, read the previous tokens, advance constraints, sample. The next step computes while the
tokens of the last one are read. Prefill is in prompts.py, groups of rows in row_groups.py, sampling in sampling/. The
batch has no access to requests, text or sockets. Engine thread only.
"""

import time
from collections.abc import Sequence
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import KVCache

from lmx_daemon.engines.mlx import platform
from lmx_daemon.engines.mlx.batch.decode_step import DecodeStep
from lmx_daemon.engines.mlx.batch.groups import fork, forward
from lmx_daemon.engines.mlx.batch.prefill import Pace, PrefillPrompt
from lmx_daemon.engines.mlx.batch.prompts import CACHE_STEP, Prompts
from lmx_daemon.engines.mlx.batch.row_groups import RowGroups
from lmx_daemon.engines.mlx.batch.step import PromptRead, Row, StepResult, Token
from lmx_daemon.engines.mlx.load.probe import ModelAbilities, probe_model
from lmx_daemon.engines.mlx.sampling.processors import TokenCounts
from lmx_daemon.engines.mlx.sampling.sampler import Logprobs, Sampler


class Batch:
    """Rows that compute together. The model is probed if its `abilities` are not given."""

    def __init__(
        self, model: Any, stop_tokens: set[int], *, prefill_step: int, abilities: ModelAbilities | None = None
    ) -> None:
        self._model = model
        self._stop_tokens = stop_tokens
        self._abilities = abilities or probe_model(model)
        self._prompts = Prompts(model, pads=self._abilities.pads, max_tokens=prefill_step)
        self._decoding: dict[Row, None] = {}
        """Rows past their prompt, in order of arrival."""
        self._groups = RowGroups(model, self._abilities)
        self._sampler: Sampler | None = None
        self._latest: DecodeStep | None = None
        self._launch_blocks = platform.backend().blocks_when_queued
        """Whether launched work would block the caller, and so distort the measured time of a prompt piece."""

    @property
    def rows(self) -> int:
        """Number of rows, including those in prefill."""
        return self._prompts.rows + len(self._decoding)

    @property
    def busy(self) -> bool:
        """Return whether there is anything to compute."""
        return bool(self._prompts or self._decoding)

    @property
    def pace(self) -> Pace:
        """The measured speed of prefill."""
        return self._prompts.pace

    @property
    def prefill_tokens(self) -> int:
        """Prompt tokens computed since this batch was made."""
        return self._prompts.tokens

    @property
    def cache_bytes(self) -> int:
        """Bytes of all KV caches."""
        return int(self._prompts.cache_bytes + self._groups.cache_bytes)

    def add(
        self,
        prompt: Sequence[int],
        rows: Sequence[Row],
        cache: list[Any] | None = None,
        cached: int = 0,
        checkpoints: Sequence[int] = (),
    ) -> Sequence[Row]:
        """Add `rows`, which continue `prompt` and have generated the same tokens so far. Return them.

        `cache` holds the first `cached` tokens. At each of the `checkpoints`, which are positions in the tokens of the
        first row, a PrefillProgress carries the cache.
        """
        for row in rows:
            row.prompt, row.launched = prompt, len(row.generated)
        self._prompts.add(rows[0].tokens, rows, cache, cached)
        for position in checkpoints:
            self.checkpoint(rows[0], position)
        return rows

    def checkpoint(self, row: Row, position: int) -> bool:
        """Request one more checkpoint. Return False if the row has passed the position or has ended."""
        return self._prompts.checkpoint(row, position)

    def extract(self, row: Row) -> tuple[list[int], list[Any]] | None:
        """Return the tokens computed for a row and a cache that holds them, or None if there are none."""
        if row in self._decoding:
            return row.held, fork(self._groups.cache_of(row))
        return self._prompts.extract(row)

    def remove(self, rows: Sequence[Row]) -> None:
        """Remove rows; those that have ended are ignored. Their memory is free after the next step at the latest."""
        self._prompts.remove(rows)
        for row in rows:
            if row in self._decoding:
                del self._decoding[row]
                self._groups.leave(row)
        if not self._decoding:  # the next step may be far
            self._clear()

    def step(self) -> StepResult:
        """Compute one more token for every row, and the next pieces of prompts.

        Without prompts, the forward pass of the next tokens starts before the last ones are read. With prompts, tokens
        are read as soon as they are computed, and never behind a piece.
        """
        result = StepResult()
        if not self._prompts:
            self._step_of_rows(result)
        elif self._latest is not None and not self._latest.read:
            self._read(self._latest, result)
        else:
            self._step_with_prompts(result)
        if not self._decoding:
            self._clear()
        return result

    def _step_of_rows(self, result: StepResult) -> None:
        """Run one decode step, and add the tokens of the previous one to `result`.

        The forward pass starts before the previous tokens are read. Without constraints the new tokens are sampled at
        once; with constraints they are sampled after the constraints have advanced by the previous tokens.
        """
        previous = self._latest
        self._launch()
        self._read(previous, result)
        self._sample()

    def _step_with_prompts(self, result: StepResult) -> None:
        live, begun = bool(self._decoding), time.perf_counter()
        read: list[PrefillPrompt] = []
        if not live and self._prompts.is_last():
            finished = self._prompts.finish(result)
            computing = [finished[0]] if finished is not None else []
            if finished is not None:
                self._begin(finished[0][0], finished[1])
        else:
            computing = self._prompts.start(live, result)
            for prompt in self._prompts.take_done():
                if prompt.generates:
                    self._join(prompt)
                else:
                    read.append(prompt)
        unread = self._latest is not None and not self._latest.read
        if not self._launch_blocks and not unread:
            self._launch()
        computed = self._prompts.settle(computing, result)
        for failed in result.failed:
            self.remove(failed.rows)
        lost = {row for failed in result.failed for row in failed.rows}
        result.read += [PromptRead(tuple(each.rows), each.cache) for each in read if lost.isdisjoint(each.rows)]
        self.pace.measured(computed, time.perf_counter() - begun, live)
        if self._launch_blocks and not unread:
            self._launch()
        self._read(self._latest, result)

    # ---- rows join ----

    def _join(self, prompt: PrefillPrompt) -> None:
        """Let the rows of a prompt decode. Its cache holds all of its tokens but the last."""
        for row in prompt.rows:
            cache = prompt.cache if row is prompt.rows[-1] else fork(prompt.cache)
            self._accept_row(row, cache)
            self._groups.join(row, len(prompt.tokens) - 1, cache)

    def _begin(self, prompt: PrefillPrompt, logits: mx.array) -> None:
        """Let the only row decode, whose next token is sampled from `logits` [1, vocabulary]."""
        (row,) = prompt.rows
        self._accept_row(row, prompt.cache)
        self._groups.begin(row, len(prompt.tokens), prompt.cache)
        self._sampler = self._new_sampler([row], logits.shape[-1])
        self._latest = DecodeStep([row], logits, [row.launched])
        row.launched += 1
        self._sample()

    def _accept_row(self, row: Row, cache: list[Any]) -> None:
        for part in cache:
            if type(part) is KVCache:
                part.step = CACHE_STEP
        self._decoding[row] = None

    # ---- a decode step ----

    def _launch(self) -> None:
        """Start the forward pass of one more token for every row that needs one, and sample it if possible."""
        self._retire_rows_at_their_limit()
        inputs, changed = self._groups.inputs(self._latest)
        if inputs is None:
            self._latest = None
            return
        previous = self._latest
        rows = self._groups.rows
        if previous is not None and not self._abilities.lazy:
            previous.settle()
        logits = forward(self._model, inputs, self._groups.all, joined=self._abilities.joins)
        if previous is not None:  # before the graph is evaluated, and before a new sampler reads the token counts
            previous.settle()
        if changed or self._sampler is None:
            self._sampler = self._new_sampler(rows, logits.shape[-1])
        self._latest = DecodeStep(rows, logits, [row.launched for row in rows])
        for row in rows:
            row.launched += 1
        if self._sampler.constrained and previous is not None and not previous.read:
            mx.async_eval(logits)  # type: ignore[no-untyped-call]  # MLX: untyped
        else:
            self._sample()

    def _read(self, step: DecodeStep | None, result: StepResult) -> None:
        """Wait for the tokens of `step`, advance the constraints of its rows, and add the tokens to `result`."""
        if step is None or step.read:
            return
        assert step.sampled is not None
        step.read = True
        tokens, logprobs = step.sampled.read()
        for index, (row, token) in enumerate(zip(step.rows, tokens, strict=True)):
            if row in self._decoding:  # otherwise it was removed while the step computed
                result.tokens.append(self._accept(row, token, logprobs.get(index)))

    def _accept(self, row: Row, token: int, logprobs: Logprobs | None) -> Token:
        row.generated.append(token)
        stops = token in self._stop_tokens or token in row.stop_tokens
        reason = "stop" if stops else None
        if row.constraint is not None:
            reason = row.constraint.advance(token, stops)
        if reason is None and len(row.generated) >= row.max_tokens:
            reason = "length"
        return Token(row, token, reason, logprobs, self._end(row) if reason is not None else None)

    def _sample(self) -> None:
        """Sample the tokens of the newest step. Does nothing if they are sampled already."""
        step = self._latest
        if step is not None and step.sampled is None:
            assert self._sampler is not None
            step.sampled = self._sampler.sample(step.logits, step.positions)

    def _new_sampler(self, rows: list[Row], vocabulary: int) -> Sampler:
        for row in rows:
            if row.counts is None and row.params.penalised:
                row.counts = TokenCounts(row.prompt, vocabulary, row.generated)
        return Sampler(rows, vocabulary)

    # ---- rows leave ----

    def _retire_rows_at_their_limit(self) -> None:
        """Take rows out of their groups whose last token is computing already."""
        for row in self._decoding:
            if row.launched >= row.max_tokens and not self._groups.is_leaving(row):
                row.cache = self._groups.cache_of(row)
                self._groups.leave(row)

    def _end(self, row: Row) -> list[Any]:
        """Remove a row that has ended, and return its cache."""
        cache, row.cache = row.cache, None
        if cache is None:
            cache = self._groups.cache_of(row)
            self._groups.leave(row)
        del self._decoding[row]
        return cache

    def _clear(self) -> None:
        """Forget everything after the last row has left, including a step that still computes."""
        self._groups.clear()
        self._latest, self._sampler = None, None

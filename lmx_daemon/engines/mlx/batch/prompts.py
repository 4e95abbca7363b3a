"""Prompts in prefill: each step computes the next pieces of some of them. Which pieces is prefill.py's decision.

It has no access to rows that decode. Engine thread only.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import KVCache, make_prompt_cache

from lmx_daemon.engines.mlx import patches
from lmx_daemon.engines.mlx.batch import padded_prefill
from lmx_daemon.engines.mlx.batch.groups import fork
from lmx_daemon.engines.mlx.batch.prefill import FOLDED, Pace, PrefillPrompt, choose_pieces
from lmx_daemon.engines.mlx.batch.scoring import PieceScores
from lmx_daemon.engines.mlx.batch.step import FailedRows, PrefillProgress, Row, RowScores, StepResult

CACHE_STEP = 256
"""Tokens by which a single row's cache grows."""

Piece = tuple[PrefillPrompt, int]
"""A prompt, and the number of its tokens that one step computes."""


class Prompts:
    """The prompts of a batch that are in prefill. Rows of one request share a prompt."""

    def __init__(self, model: Any, *, pads: bool, max_tokens: int) -> None:
        self._model = model
        self._pads = pads
        self._arrivals = itertools.count()
        self._turn = 0
        self._prompts: list[PrefillPrompt] = []
        self.pace = Pace(max_tokens)
        self.tokens = 0
        """Prompt tokens computed so far."""

    def __bool__(self) -> bool:
        return bool(self._prompts)

    @property
    def rows(self) -> int:
        """Number of rows in prefill."""
        return sum(len(prompt.rows) for prompt in self._prompts)

    @property
    def cache_bytes(self) -> int:
        """Bytes of the keys and values of all prompts."""
        return sum(cache.nbytes for prompt in self._prompts for cache in prompt.cache)

    def add(self, tokens: Sequence[int], rows: Sequence[Row], cache: list[Any] | None, cached: int) -> None:
        """Add a prompt that `rows` share, of which `cache` holds the first `cached` tokens."""
        if cache is None:
            cache = make_prompt_cache(self._model)
        for part in cache:
            if type(part) is KVCache:  # allocate the whole prompt at once, instead of copying with every piece
                part.step = max(CACHE_STEP, -(-(len(tokens) - cached) // CACHE_STEP) * CACHE_STEP)
        self._prompts.append(PrefillPrompt(list(rows), tokens, cache, cached, next(self._arrivals)))

    def checkpoint(self, row: Row, position: int) -> bool:
        """Request one more checkpoint. Return False if the row has passed the position or is not in prefill."""
        prompt = self._of(row)
        if prompt is None or not prompt.done < position < len(prompt.tokens):
            return False
        prompt.checkpoints.add(position)
        return True

    def extract(self, row: Row) -> tuple[list[int], list[Any]] | None:
        """Return the tokens computed for a row and a cache that holds them, or None if there are none."""
        prompt = self._of(row)
        return (list(prompt.tokens[: prompt.done]), fork(prompt.cache)) if prompt is not None and prompt.done else None

    def remove(self, rows: Sequence[Row]) -> None:
        """Remove rows; those that are not in prefill are ignored."""
        for prompt in list(self._prompts):
            prompt.rows = [row for row in prompt.rows if row not in rows]
            if not prompt.rows:
                self._prompts.remove(prompt)

    def start(self, live: bool, result: StepResult) -> list[Piece]:
        """Start the next pieces and return them. `live`: other rows decode meanwhile."""
        self._turn += 1
        waiting = [prompt for prompt in self._prompts if prompt.left > 0]
        chosen = choose_pieces(waiting, self.pace, live, self._turn)
        whole = [piece for piece in chosen if self._pads and _is_whole(*piece)]
        calls = [[whole[index] for index in call] for call in padded_prefill.together([count for _, count in whole])]
        calls += [[piece] for piece in chosen if piece not in whole]
        return [piece for call in calls for piece in self._compute(call, result)]

    def take_done(self) -> list[PrefillPrompt]:
        """Remove and return the prompts that are computed except for their last token."""
        done = [prompt for prompt in self._prompts if prompt.left <= 0]
        self._prompts = [prompt for prompt in self._prompts if prompt.left > 0]
        return done

    def is_last(self) -> bool:
        """Return whether one row is in prefill, and a short piece of its prompt is left, which `finish` computes."""
        if len(self._prompts) != 1:
            return False
        (prompt,) = self._prompts
        left, ends = prompt.left, len(prompt.tokens) - 1 in prompt.checkpoints
        if len(prompt.rows) != 1 or not 0 < left < FOLDED or ends:
            return False
        if not prompt.generates or prompt.scoring is not None:
            return False
        return choose_pieces([prompt], self.pace, False, self._turn) == [(prompt, left)]

    def finish(self, result: StepResult) -> tuple[Piece, mx.array] | None:
        """Compute the last piece of the only row together with the prompt's last token, in one call instead of two.

        Remove the prompt. Return the piece and the logits [1, vocabulary], or None if the model raised.
        """
        self._turn += 1
        (prompt,) = self._prompts
        count = prompt.left
        try:
            with patches.known_inputs():
                logits = self._call(prompt, count + 1)[:, -1]
            mx.async_eval(logits, [part.state for part in prompt.cache])  # type: ignore[no-untyped-call]  # MLX: untyped
        except Exception as error:  # see _compute
            self._fail(prompt, error, result)
            return None
        self._advance(prompt, count, result)
        self._prompts.remove(prompt)
        return (prompt, count), logits

    def settle(self, computing: Sequence[Piece], result: StepResult) -> list[tuple[int, int]]:
        """Wait for the pieces. Return for each the tokens held before it and its own tokens.

        Return nothing if one of them is scored: its time would make other prompts seem slow.
        """
        for prompt, _ in computing:
            try:
                mx.eval([cache.state for cache in prompt.cache])
                for scores in prompt.scores:
                    result.scores.append(RowScores(prompt.rows[0], tuple(scores.read())))
                prompt.scores.clear()
            except Exception as error:  # see _compute
                self._fail(prompt, error, result)
        if any(prompt.scoring is not None for prompt, _ in computing):
            return []
        return [(prompt.done - count, count) for prompt, count in computing]

    def _of(self, row: Row) -> PrefillPrompt | None:
        return next((prompt for prompt in self._prompts if row in prompt.rows), None)

    def _compute(self, call: list[Piece], result: StepResult) -> list[Piece]:
        """Start one call of the model. Return its pieces; a piece whose call raises costs its own rows only."""
        try:
            with patches.known_inputs():
                if len(call) > 1:
                    caches = padded_prefill.run(self._model, [prompt.tokens[:count] for prompt, count in call])
                else:
                    self._score(call[0][0], self._call(*call[0]))
                    caches = [call[0][0].cache]
            scores = [each.arrays for prompt, _ in call for each in prompt.scores]
            mx.async_eval([part.state for cache in caches for part in cache], scores)  # type: ignore[no-untyped-call]  # MLX: untyped
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

    def _score(self, prompt: PrefillPrompt, logits: mx.array) -> None:
        """Begin to compute the scores of a piece from its logits [1, count, vocabulary], if it has scores."""
        scoring = prompt.scoring
        if scoring is not None and prompt.done + logits.shape[1] >= scoring.start:
            prompt.scores.append(PieceScores(scoring, prompt.tokens, prompt.done, logits[0]))

    def _advance(self, prompt: PrefillPrompt, count: int, result: StepResult) -> None:
        prompt.done += count
        self.tokens += count
        cache = fork(prompt.cache) if prompt.done in prompt.checkpoints else None
        result.prompts.append(PrefillProgress(prompt.rows[0], prompt.done, len(prompt.tokens), cache))

    def _fail(self, prompt: PrefillPrompt, error: Exception, result: StepResult) -> None:
        result.failed.append(FailedRows(tuple(prompt.rows), error))
        if prompt in self._prompts:
            self._prompts.remove(prompt)


def _is_whole(prompt: PrefillPrompt, count: int) -> bool:
    """Return whether a piece is a whole prompt that may share a call."""
    return not prompt.done and count == prompt.left and prompt.scoring is None

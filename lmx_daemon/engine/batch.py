"""The one adapter over mlx-lm's BatchGenerator: rows in, steps out. What is behind it can be replaced.

It knows token ids, samplers and caches; requests, text and sockets are the runner's. Engine thread only.
"""

import importlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx_lm.generate import BatchGenerator, StopSequences

from lmx_daemon.engine.sampling import Resolved, sampler_for


@dataclass(frozen=True)
class Row:
    """One sequence to generate. `cache` holds the first `cached` of `tokens`."""

    tokens: Sequence[int]
    max_tokens: int
    sampler: Any
    processors: list[Any]
    cache: list[Any] | None = None
    cached: int = 0
    checkpoints: tuple[int, ...] = ()
    """Positions within `tokens` at which the row's cache is handed out, in a PrefillStep."""


@dataclass(frozen=True)
class Token:
    """A row's next token; with `reason` its last. A "stop" token is not part of the answer."""

    row: int
    token: int
    logprobs: mx.array
    reason: str | None
    cache: list[Any] | None
    tokens: list[int] | None
    """With `reason`: what `cache` holds."""


@dataclass(frozen=True)
class PrefillStep:
    """`done` and `total` leave out what was cached."""

    row: int
    done: int
    total: int
    cache: list[Any] | None = None
    """At a checkpoint: the row's cache, which holds the cached tokens and `done` more."""


class Batch:
    """Rows that are computed together. Row ids are never used twice."""

    def __init__(self, model: Any, stop_tokens: set[int], *, max_running: int, prefill_step: int) -> None:
        # Wired memory is a setting of ours (platform.wire), not a side effect of making a batch.
        # mlx_lm's attribute `generate` is a function that hides its module, hence the import by name.
        vars(importlib.import_module("mlx_lm.generate"))["maybe_set_recommended_wired_limit"] = lambda: None
        self._max_running = max_running
        self._stop = StopSequences([[token] for token in stop_tokens] or None)
        self._generator = BatchGenerator(
            model,
            completion_batch_size=max_running,
            prefill_batch_size=min(8, max_running),
            prefill_step_size=prefill_step,
        )
        self.rows = 0
        """Rows in it, waiting ones included."""
        self._checkpoints: dict[int, tuple[int, set[int]]] = {}
        """Of rows in prefill: what was cached, and the positions asked for."""

    def add(self, row: Row) -> int:
        wanted = {position for position in row.checkpoints if row.cached < position < len(row.tokens)}
        edges = [row.cached, *sorted(wanted), len(row.tokens)]
        (identity,) = self._generator.insert_segments(
            [[list(row.tokens[start:stop]) for start, stop in itertools.pairwise(edges)]],
            max_tokens=[row.max_tokens],
            caches=[row.cache] if row.cache is not None else None,
            all_tokens=[list(row.tokens[: row.cached])],
            samplers=[row.sampler],
            logits_processors=[row.processors],
            stop_sequences=[self._stop],
        )
        self.rows += 1
        self._checkpoints[identity] = row.cached, wanted
        return int(identity)

    def checkpoint(self, row: int, position: int) -> bool:
        """Asks for one more checkpoint. False where the row has come further already, or has ended."""
        known = self._generator._find_uids([row]).get(row)
        if known is None or known[0] == 2 or row not in self._checkpoints:
            return False
        stage, index = known
        if stage == 0:
            segments, done = self._generator._unprocessed_sequences[index][1], 0
        else:
            segments, done, _ = self._generator._currently_processing[index]
        cached, wanted = self._checkpoints[row]
        start = cached + done
        for place, segment in enumerate(segments):
            if start < position < start + len(segment):
                segments[place : place + 1] = [segment[: position - start], segment[position - start :]]
            start += len(segment)
        if not cached + done < position < start:
            return False
        wanted.add(position)
        return True

    def extract(self, row: int) -> tuple[list[int], list[Any]] | None:
        """What is computed of a row so far: the tokens, and a cache that holds them."""
        known = self._generator._find_uids([row]).get(row)
        if known is None or known[0] == 0:
            return None
        cache, tokens = self._generator.extract_cache([row])[row]
        return list(tokens), cache

    def remove(self, rows: Sequence[int]) -> None:
        """Rows that have ended already are ignored."""
        known = self._generator._find_uids(rows)
        if known:
            self._generator.remove(list(known))
            self.rows -= len(known)
            for row in known:
                self._checkpoints.pop(row, None)

    def step(self) -> tuple[list[PrefillStep], list[Token]]:
        """One decode step for all running rows, and a piece of the waiting prompts."""
        prompts, generated = self._generator.next()
        tokens = [
            Token(found.uid, found.token, found.logprobs, found.finish_reason, found.prompt_cache, found.all_tokens)
            for found in generated
        ]
        self.rows -= sum(token.reason is not None for token in tokens)
        return [self._prefill_step(found) for found in prompts], tokens

    def _prefill_step(self, found: Any) -> PrefillStep:
        done, total = found.progress
        if found.end_of_prompt:
            self._checkpoints.pop(found.uid, None)
            return PrefillStep(found.uid, done, total)
        cached, wanted = self._checkpoints[found.uid]
        taken = self.extract(found.uid) if cached + done in wanted else None
        return PrefillStep(found.uid, done, total, taken[1] if taken else None)

    @property
    def prefill_tokens(self) -> int:
        """Prompt tokens computed since this batch was made."""
        return int(self._generator._counters.prompt_tokens)

    @property
    def cache_bytes(self) -> int:
        return int(self._generator.prompt_cache_nbytes)

    def close(self) -> None:
        self._generator.close()


def warm_up(batch: Batch) -> None:
    """Greedy and sampled, prefill and decode: kernels are compiled now, not under the first request."""
    sampled = Resolved(temperature=1.0, top_p=0.9, top_k=2, min_p=0.05, repetition_penalty=1.0)
    greedy = Resolved(temperature=0.0, top_p=1.0, top_k=0, min_p=0.0, repetition_penalty=1.0)
    batch.add(Row([0, 0, 0, 0], 2, sampler_for(sampled, 0, 0), []))
    batch.add(Row([0, 0], 2, sampler_for(greedy, 0, 0), []))
    while batch.rows:
        batch.step()

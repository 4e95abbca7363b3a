"""The decode step: forward, read the previous tokens, advance constraints, sample.

One token for every row past its prompt. The next step computes while the tokens of the last one are read. Which rows
share a batched KV cache is groups.py's, which token is sampled is the sampler's. It has no access to prompts that are
still in prefill. Engine thread only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.models.cache import KVCache

from lmx_daemon.engines.mlx.batch.groups import PADDING, Group, choose_group, fork, forward, padding_allowance
from lmx_daemon.engines.mlx.batch.step import Row, Token
from lmx_daemon.engines.mlx.load.probe import ModelAbilities
from lmx_daemon.engines.mlx.sampling.processors import SampledRow, TokenCounts
from lmx_daemon.engines.mlx.sampling.sampler import Logprobs, SampledTokens, Sampler

CACHE_STEP = 256
"""Tokens by which a single row's cache grows."""


@dataclass(eq=False)
class DecodingRow:
    """A row past its prompt."""

    row: Row
    prompt: Sequence[int]
    sampled: SampledRow
    generated: list[int] = field(default_factory=list)
    launched: int = 0
    """Number of tokens whose computation has begun."""
    cache: list[Any] | None = None
    """The row's own cache, if it left its group while its last token was still being computed."""

    @property
    def held(self) -> list[int]:
        """The tokens that the row's cache holds. Each launch adds one; the first launch adds the prompt's last."""
        return [*self.prompt, *self.generated][: len(self.prompt) - 1 + self.launched]


@dataclass(eq=False)
class DecodeStep:
    """The newest step of the model: still computing, or read and the start of the next one."""

    rows: list[int]
    logits: mx.array
    """[rows, vocabulary]"""
    positions: list[int]
    """Number of tokens that each row had generated before this step."""
    sampled: SampledTokens | None = None
    """None while the constraints of the rows wait for the previous tokens."""
    read: bool = False

    @property
    def tokens(self) -> mx.array:
        """The tokens [rows], which need not be computed yet."""
        assert self.sampled is not None
        return self.sampled.tokens


class Decode:
    """All rows of a batch that are past their prompt."""

    def __init__(self, model: Any, stop_tokens: set[int], abilities: ModelAbilities) -> None:
        self._model = model
        self._stop_tokens = stop_tokens
        self._decoding: dict[int, DecodingRow] = {}
        self._groups: list[Group] = []
        self._joined: list[tuple[int, int]] = []
        """Rows that take part from the next step on, each with its input token."""
        self._leaving: set[int] = set()
        self._sampler: Sampler | None = None
        self._abilities = abilities
        self._weights = sum(value.nbytes for _, value in tree_flatten(model.parameters()))
        self._latest: DecodeStep | None = None

    def __len__(self) -> int:
        return len(self._decoding)

    @property
    def cache_bytes(self) -> int:
        """Bytes of the keys and values of all rows."""
        return sum(group.bytes for group in self._groups)

    def join(self, row: int, asked: Row, tokens: Sequence[int], cache: list[Any]) -> None:
        """Add a row whose `cache` holds all of its `tokens` but the last."""
        length = len(tokens) - 1
        self._add(row, asked, tokens, cache)
        usable = [group for group in self._groups if self._abilities.merges and not set(group.rows) <= self._leaving]
        token_bytes = sum(part.nbytes for part in cache) // max(1, length)
        allowance = PADDING[0] if self._abilities.joins else padding_allowance(self._weights, token_bytes)
        index = choose_group([group.shape for group in usable], length, allowance)
        if index is None:
            self._groups.append(Group(row, length, cache))
        else:
            usable[index].join(row, length, cache)
        self._joined.append((row, tokens[-1]))

    def begin(self, row: int, asked: Row, tokens: Sequence[int], cache: list[Any], logits: mx.array) -> None:
        """Add the only row and sample its next token from `logits` [1, vocabulary].

        `cache` holds all of its `tokens`.
        """
        decoding = self._add(row, asked, tokens, cache)
        self._groups = [Group(row, len(tokens), cache)]
        self._sampler = self._new_sampler([row], logits.shape[-1])
        self._latest = DecodeStep([row], logits, [asked.resumed])
        decoding.launched = 1
        self._sample()

    def leave(self, row: int) -> None:
        """Remove a row. Its memory is free after the next launch. Idempotent."""
        if self._decoding.pop(row, None) is not None:
            self._leaving.add(row)

    def extract(self, row: int) -> tuple[list[int], list[Any]] | None:
        """Return the tokens computed for a row and a cache that holds them, or None if the row has left."""
        decoding = self._decoding.get(row)
        return (decoding.held, fork(self._cache_of(row))) if decoding is not None else None

    @property
    def unread(self) -> bool:
        """Whether a step has been launched whose tokens are not read yet."""
        return self._latest is not None and not self._latest.read

    def step(self) -> list[Token]:
        """Run one decode step and return the tokens of the previous one.

        The forward pass starts before the previous tokens are read. Without constraints the new tokens are sampled at
        once; with constraints they are sampled after the constraints have advanced by the previous tokens.
        """
        previous = self._latest
        self.launch()
        tokens = self._read(previous)
        self._sample()
        return tokens

    def launch(self) -> None:
        """Start the forward pass of one more token for every row that needs one, and sample it if possible."""
        self._retire_rows_at_their_limit()
        inputs, changed = self._inputs()
        if inputs is None:
            self._latest = None
            return
        previous = self._latest
        rows = [row for group in self._groups for row in group.rows]
        if previous is not None and not self._abilities.lazy:
            self._settle(previous)
        logits = forward(self._model, inputs, self._groups, joined=self._abilities.joins)
        if previous is not None:  # before the graph is evaluated, and before a new sampler reads the token counts
            self._settle(previous)
        if changed or self._sampler is None:
            self._sampler = self._new_sampler(rows, logits.shape[-1])
        decoding = [self._decoding[row] for row in rows]
        self._latest = DecodeStep(rows, logits, [each.launched + each.row.resumed for each in decoding])
        for each in decoding:
            each.launched += 1
        if self._sampler.constrained and previous is not None and not previous.read:
            mx.async_eval(logits)  # type: ignore[no-untyped-call]  # MLX: untyped
        else:
            self._sample()

    def read(self) -> list[Token]:
        """Wait for the tokens of the newest step and return them; none if they were read before."""
        return self._read(self._latest)

    def clear(self) -> None:
        """Forget everything after the last row has left, including a step that still computes."""
        self._groups, self._latest, self._sampler = [], None, None
        self._leaving.clear()
        self._joined.clear()

    def _read(self, step: DecodeStep | None) -> list[Token]:
        """Wait for the tokens of `step`, advance the constraints of its rows, and return the tokens."""
        if step is None or step.read:
            return []
        assert step.sampled is not None
        step.read = True
        tokens, logprobs = step.sampled.read()
        found = []
        for index, (row, token) in enumerate(zip(step.rows, tokens, strict=True)):
            decoding = self._decoding.get(row)
            if decoding is not None:  # otherwise it was removed while the step computed
                found.append(self._accept(row, decoding, token, logprobs.get(index)))
        return found

    def _accept(self, row: int, decoding: DecodingRow, token: int, logprobs: Logprobs | None) -> Token:
        decoding.generated.append(token)
        if token in self._stop_tokens or token in decoding.row.stop_tokens:
            return self._last(row, decoding, token, "stop", logprobs)
        if len(decoding.generated) >= decoding.row.max_tokens:
            return self._last(row, decoding, token, "length", logprobs)
        if decoding.row.constraint is not None:
            decoding.row.constraint.advance(token)
        return Token(row, token, logprobs=logprobs)

    def _sample(self) -> None:
        """Sample the tokens of the newest step. Does nothing if they are sampled already."""
        step = self._latest
        if step is not None and step.sampled is None:
            assert self._sampler is not None
            step.sampled = self._sampler.sample(step.logits, step.positions)

    def _add(self, row: int, asked: Row, tokens: Sequence[int], cache: list[Any]) -> DecodingRow:
        for part in cache:
            if type(part) is KVCache:
                part.step = CACHE_STEP
        decoding = DecodingRow(asked, tokens, SampledRow(asked.sampling, constraint=asked.constraint))
        self._decoding[row] = decoding
        return decoding

    def _retire_rows_at_their_limit(self) -> None:
        """Take rows out of their groups whose last token is computing already."""
        for row, decoding in self._decoding.items():
            if decoding.launched >= decoding.row.max_tokens and row not in self._leaving:
                decoding.cache = self._cache_of(row)
                self._leaving.add(row)

    def _inputs(self) -> tuple[mx.array | None, bool]:
        """Return the input tokens [rows] of the next step, or None without rows; and whether the rows have changed.

        The rows are in the order of the groups.
        """
        previous = self._latest
        if not self._leaving and not self._joined:
            return (previous.tokens if previous is not None else None), False
        for group in self._groups:
            if not self._leaving.isdisjoint(group.rows):
                group.leave(self._leaving)
        self._groups = [group for group in self._groups if group.rows]
        self._leaving.clear()
        old = previous.rows if previous is not None else []
        indices = {row: index for index, row in enumerate(old)}
        indices |= {row: len(old) + index for index, (row, _) in enumerate(self._joined)}
        added = mx.array([token for _, token in self._joined], mx.uint32)
        self._joined = []
        order = [indices[row] for group in self._groups for row in group.rows]
        known = added if previous is None else mx.concatenate([previous.tokens, added])
        return (known[mx.array(order)] if order else None), True

    def _settle(self, step: DecodeStep) -> None:
        assert step.sampled is not None
        step.sampled.settle()

    def _new_sampler(self, rows: list[int], vocabulary: int) -> Sampler:
        decoding = [self._decoding[row] for row in rows]
        for each in decoding:
            if each.sampled.counts is None and each.row.sampling.penalised:
                asked = len(each.prompt) - each.row.resumed
                each.sampled.counts = TokenCounts(each.prompt[:asked], vocabulary, each.prompt[asked:])
        return Sampler([each.sampled for each in decoding], vocabulary)

    def _last(self, row: int, decoding: DecodingRow, token: int, reason: str, logprobs: Logprobs | None) -> Token:
        cache = decoding.cache
        if cache is None:
            cache = self._cache_of(row)
            self._leaving.add(row)
        del self._decoding[row]
        return Token(row, token, reason, logprobs, cache, decoding.held)

    def _cache_of(self, row: int) -> list[Any]:
        return next(group for group in self._groups if row in group.rows).extract(row)

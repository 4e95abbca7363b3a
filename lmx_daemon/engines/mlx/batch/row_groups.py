"""The groups of rows past their prompt: the place of a new row, and the rows that join or leave at the next step."""

from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from lmx_daemon.engines.mlx.batch.decode_step import DecodeStep
from lmx_daemon.engines.mlx.batch.groups import PADDING, Group, choose_group, padding_allowance
from lmx_daemon.engines.mlx.batch.step import Row
from lmx_daemon.engines.mlx.load.probe import ModelAbilities


class RowGroups:
    """The groups of a batch. Rows leave at the next step, since the one before may still compute their token."""

    def __init__(self, model: Any, abilities: ModelAbilities) -> None:
        self._abilities = abilities
        self._weights = sum(value.nbytes for _, value in tree_flatten(model.parameters()))
        self.all: list[Group] = []
        self._joined: list[Row] = []
        """Rows that take part from the next step on."""
        self._leaving: set[Row] = set()

    @property
    def rows(self) -> list[Row]:
        """The rows in the order of the groups."""
        return [row for group in self.all for row in group.rows]

    @property
    def cache_bytes(self) -> int:
        """Bytes of the KV caches."""
        return sum(group.bytes for group in self.all)

    def begin(self, row: Row, length: int, cache: list[Any]) -> None:
        """Make the row the only one. It takes part in a step already."""
        self.all = [Group(row, length, cache)]

    def join(self, row: Row, length: int, cache: list[Any]) -> None:
        """Add a row from the next step on, to the group in which it adds least padding, or to a new one."""
        usable = [group for group in self.all if self._abilities.merges and not set(group.rows) <= self._leaving]
        token_bytes = sum(part.nbytes for part in cache) // max(1, length)
        allowance = PADDING[0] if self._abilities.joins else padding_allowance(self._weights, token_bytes)
        index = choose_group([group.shape for group in usable], length, allowance)
        if index is None:
            self.all.append(Group(row, length, cache))
        else:
            usable[index].join(row, length, cache)
        self._joined.append(row)

    def leave(self, row: Row) -> None:
        """Take a row out at the next step."""
        self._leaving.add(row)

    def is_leaving(self, row: Row) -> bool:
        """Return whether a row is taken out at the next step."""
        return row in self._leaving

    def cache_of(self, row: Row) -> list[Any]:
        """Return the cache of one row, a copy if it shares its group."""
        return next(group for group in self.all if row in group.rows).extract(row)

    def inputs(self, previous: DecodeStep | None) -> tuple[mx.array | None, bool]:
        """Return the input tokens [rows] of the next step, or None without rows; and whether the rows have changed.

        The rows are in the order of the groups. `previous` is the step whose tokens are the inputs.
        """
        if not self._leaving and not self._joined:
            return (previous.tokens if previous is not None else None), False
        for group in self.all:
            if not self._leaving.isdisjoint(group.rows):
                group.leave(self._leaving)
        self.all = [group for group in self.all if group.rows]
        self._leaving.clear()
        known = [*(previous.rows if previous is not None else ()), *self._joined]
        indices = {row: index for index, row in enumerate(known)}
        added = mx.array([(row.generated or row.prompt)[-1] for row in self._joined], mx.uint32)
        self._joined = []
        order = [indices[row] for group in self.all for row in group.rows]
        tokens = added if previous is None else mx.concatenate([previous.tokens, added])
        return (tokens[mx.array(order)] if order else None), True

    def clear(self) -> None:
        """Forget all rows."""
        self.all = []
        self._leaving.clear()
        self._joined.clear()

"""What a model's cache is made of: tensors that grow with each token, which can be cut into blocks, and states that
hold for one position only (state-space layers, sliding windows). Takes mlx-lm's caches apart and joins them again.

It knows mlx-lm's cache classes and nothing of what is stored where. Engine thread only.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import mlx.core as mx
import msgspec
from mlx_lm.models import cache as caches

STRIDE = 2048
"""Tokens that are cut in one go: bounds the scratch memory."""
SLICES = 2048
"""So many cost less than one more copy of what they are cut from."""
STATES = ("RotatingKVCache", "ArraysCache", "ChunkedKVCache")
"""Classes whose state holds for its own position alone."""
KNOWN = frozenset({"KVCache", "CacheList", *STATES})


class LayerLayout(msgspec.Struct, frozen=True, array_like=True):
    """One layer's cache. `list` has children; `unused` is a layer that borrows another one's keys."""

    kind: Literal["tokens", "state", "unused", "list"]
    name: str
    children: tuple["LayerLayout", ...] = ()


class TensorGroup(msgspec.Struct, frozen=True, array_like=True):
    """Tensors of one shape: in a block they lie stacked as [members, heads, tokens, width]."""

    heads: int
    width: int
    dtype: str
    members: tuple[int, ...]
    """Places in the order: keys and values of the first layer, keys and values of the second, ..."""


class CacheLayout(msgspec.Struct, frozen=True, array_like=True):
    """How the caches of one model are built; the same for each of its sequences."""

    leaves: tuple[LayerLayout, ...]
    groups: tuple[TensorGroup, ...]

    @property
    def trimmable(self) -> bool:
        """Any beginning of a stored sequence can be used, not only the positions at which a state was kept."""
        return all(leaf.kind != "state" for leaf in _flat(self.leaves))


@dataclass(frozen=True)
class Checkpoint:
    """The states of all layers at one position. `tree` has {"array": n} where an array belongs."""

    tree: Any
    arrays: list[mx.array]


def layout_of(cache: Sequence[Any], length: int) -> CacheLayout | None:
    """None where the cache cannot be stored: an unknown class, or one that does not hold `length` tokens."""
    try:
        leaves = tuple(_leaf(part, length) for part in cache)
    except ValueError:
        return None
    shapes: dict[tuple[int, int, str], list[int]] = {}
    for place, tensor in enumerate(tensors_of(cache)):
        key = (tensor.shape[1], tensor.shape[3], str(tensor.dtype).removeprefix("mlx.core."))
        shapes.setdefault(key, []).append(place)
    return CacheLayout(leaves, tuple(TensorGroup(*shape, tuple(members)) for shape, members in shapes.items()))


def can_be_cut(model: Any) -> bool:
    """Whether any beginning of a sequence's cache is the cache of that beginning."""
    cache = caches.make_prompt_cache(model)
    return not _states(cache)


def _leaf(part: Any, length: int) -> LayerLayout:
    name = type(part).__name__
    if type(part) is caches.CacheList:
        return LayerLayout("list", name, tuple(_leaf(child, length) for child in part.caches))
    if type(part) is caches.KVCache:
        if part.keys is None:
            return LayerLayout("unused", name)
        if part.offset != length or part.keys.shape[0] != 1:
            raise ValueError(f"holds {part.offset} tokens instead of {length}")
        return LayerLayout("tokens", name)
    if name in STATES and type(part) is getattr(caches, name):
        return LayerLayout("state", name)
    raise ValueError(f"{name} is not known")


def tensors_of(cache: Sequence[Any]) -> list[mx.array]:
    """Keys and values of all layers that grow by token, each [1, heads, tokens or more, width]."""
    found: list[mx.array] = []
    for part in cache:
        if type(part) is caches.CacheList:
            found += tensors_of(part.caches)
        elif type(part) is caches.KVCache and part.keys is not None:
            found += [part.keys, part.values]
    return found


def cut(tensors: Sequence[mx.array], layout: CacheLayout, start: int, stop: int, step: int) -> list[list[mx.array]]:
    """Tokens `start` to `stop` as blocks of `step` (the last may be shorter), each with one array for each group.

    The last ones are under way: nobody waits for them here.
    """
    blocks: list[list[mx.array]] = []
    for first in range(start, stop, max(STRIDE // step, 1) * step):
        last = min(first + max(STRIDE // step, 1) * step, stop)
        places = range(0, last - first, step)
        made: list[list[mx.array]] = [[] for _ in places]
        for group in layout.groups:
            stacked = mx.concatenate([tensors[member][:, :, first:last] for member in group.members])
            for block, place in zip(made, places, strict=True):
                block.append(mx.contiguous(stacked[:, :, place : place + step]))
        (mx.eval if last < stop else mx.async_eval)(made)
        blocks += made
    return blocks


def state_of(cache: Sequence[Any]) -> Checkpoint:
    """The states of all layers that have one, under way, and free of the batch they came from."""
    arrays: list[mx.array] = []

    def take(value: Any) -> Any:
        if isinstance(value, mx.array):
            arrays.append(mx.contiguous(value))
            return {"array": len(arrays) - 1}
        if isinstance(value, list | tuple):
            return [take(inner) for inner in value]
        return value

    tree = [take(part.state) for part in _states(cache)]
    mx.async_eval(arrays)  # type: ignore[no-untyped-call]  # MLX: untyped
    return Checkpoint(tree, arrays)


def join(
    layout: CacheLayout,
    blocks: Sequence[Sequence[mx.array]],
    length: int,
    state: Checkpoint | None,
    *,
    surplus: int = 0,
    room: int = 0,
) -> list[Any]:
    """A cache of its own for one sequence of `length` tokens, with room for `room` more; the last block holds `surplus`
    tokens too many."""
    tensors = iter(_joined(layout, blocks, surplus, room))
    states = iter(state.tree if state is not None else ())
    arrays = state.arrays if state is not None else []

    def put_back(value: Any) -> Any:
        if isinstance(value, dict):
            return copy.deepcopy(arrays[value["array"]])  # caches write into their arrays; a copy costs nothing yet
        if isinstance(value, list):
            return [put_back(inner) for inner in value]
        return value

    def build(leaf: LayerLayout) -> Any:
        assert leaf.name in KNOWN, leaf.name
        kind = getattr(caches, leaf.name)
        match leaf.kind:
            case "list":
                return kind(*(build(child) for child in leaf.children))
            case "tokens":
                return kind.from_state((next(tensors), next(tensors), length))
            case "unused":
                return kind()
            case "state":
                return kind.from_state(put_back(next(states)))

    return [build(leaf) for leaf in layout.leaves]


def _joined(layout: CacheLayout, blocks: Sequence[Sequence[mx.array]], surplus: int, room: int) -> list[mx.array]:
    """The tensors that grow by token, in their order."""
    tensors: dict[int, mx.array] = {}
    for index, group in enumerate(layout.groups):
        pieces = [block[index] for block in blocks if block]  # a state may follow a whole block with no token between
        if surplus:
            pieces[-1] = pieces[-1][:, :, : pieces[-1].shape[2] - surplus]
        if len(pieces) * len(group.members) > SLICES:
            pieces = [mx.concatenate(pieces, axis=2)]
        spare = mx.zeros((1, group.heads, room, group.width), pieces[0].dtype)
        for place, member in enumerate(group.members):
            tensors[member] = mx.concatenate([*(piece[place : place + 1] for piece in pieces), spare], axis=2)
    return [tensors[member] for member in sorted(tensors)]


def _flat(leaves: Sequence[LayerLayout]) -> list[LayerLayout]:
    return [found for leaf in leaves for found in (_flat(leaf.children) if leaf.kind == "list" else [leaf])]


def _states(cache: Sequence[Any]) -> list[Any]:
    found: list[Any] = []
    for part in cache:
        if type(part) is caches.CacheList:
            found += _states(part.caches)
        elif type(part) is not caches.KVCache:
            found.append(part)
    return found

"""The parts of a model's cache, and functions that split mlx-lm's caches and join them again.

Tensors that grow with each token are cut into blocks. States are valid for one position only (state-space layers,
sliding windows) and are stored as checkpoints. Where blocks are stored is decided elsewhere. Engine thread only.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import mlx.core as mx
import msgspec
from mlx_lm.models import cache as caches

STRIDE = 2048
"""Tokens that are cut in one operation; bounds the scratch memory."""
SLICES = 2048
"""Number of slices up to which slicing costs less than copying what they are cut from."""
STATES = ("RotatingKVCache", "ArraysCache", "ChunkedKVCache")
"""Cache classes whose state is valid for its position only."""
KNOWN = frozenset({"KVCache", "CacheList", *STATES})


class LayerLayout(msgspec.Struct, frozen=True, array_like=True):
    """Cache of one layer. `list` has children; `unused` is a layer that uses the keys of another one."""

    kind: Literal["tokens", "state", "unused", "list"]
    name: str
    children: tuple["LayerLayout", ...] = ()


class TensorGroup(msgspec.Struct, frozen=True, array_like=True):
    """Tensors of one shape. In a block they are stacked as [members, heads, tokens, width]."""

    heads: int
    width: int
    dtype: str
    members: tuple[int, ...]
    """Indices of the tensors in this order: keys and values of the first layer, then of the second, ..."""


class CacheLayout(msgspec.Struct, frozen=True, array_like=True):
    """Structure of the caches of one model, the same for all its sequences."""

    layers: tuple[LayerLayout, ...]
    groups: tuple[TensorGroup, ...]

    @property
    def trimmable(self) -> bool:
        """Return whether any prefix of a stored sequence can be used, not only those that end at a checkpoint."""
        return all(layer.kind != "state" for layer in _flat(self.layers))


@dataclass(frozen=True)
class Checkpoint:
    """States of all layers at one position. `tree` has {"array": n} in place of each array."""

    tree: Any
    arrays: list[mx.array]


def layout_of(cache: Sequence[Any], length: int) -> CacheLayout | None:
    """Return the layout of a cache; None if its class is unknown or it does not hold `length` tokens."""
    try:
        layers = tuple(_layer(part, length) for part in cache)
    except ValueError:
        return None
    shapes: dict[tuple[int, int, str], list[int]] = {}
    for place, tensor in enumerate(tensors_of(cache)):
        key = (tensor.shape[1], tensor.shape[3], str(tensor.dtype).removeprefix("mlx.core."))
        shapes.setdefault(key, []).append(place)
    return CacheLayout(layers, tuple(TensorGroup(*shape, tuple(members)) for shape, members in shapes.items()))


def can_be_cut(model: Any) -> bool:
    """Return whether a prefix of a sequence's cache is the cache of that prefix."""
    cache = caches.make_prompt_cache(model)
    return not _states(cache)


def _layer(part: Any, length: int) -> LayerLayout:
    name = type(part).__name__
    if type(part) is caches.CacheList:
        return LayerLayout("list", name, tuple(_layer(child, length) for child in part.caches))
    if type(part) is caches.KVCache:
        if part.keys is None:
            return LayerLayout("unused", name)
        if part.offset != length or part.keys.shape[0] != 1:
            raise ValueError(f"holds {part.offset} tokens instead of {length}")
        return LayerLayout("tokens", name)
    if name in STATES and type(part) is getattr(caches, name):
        return LayerLayout("state", name)
    raise ValueError(f"{name} is unknown")


def tensors_of(cache: Sequence[Any]) -> list[mx.array]:
    """Return keys and values of all layers that grow by token, each [1, heads, tokens or more, width]."""
    found: list[mx.array] = []
    for part in cache:
        if type(part) is caches.CacheList:
            found += tensors_of(part.caches)
        elif type(part) is caches.KVCache and part.keys is not None:
            found += [part.keys, part.values]
    return found


def cut(tensors: Sequence[mx.array], layout: CacheLayout, start: int, stop: int, step: int) -> list[list[mx.array]]:
    """Return tokens `start` to `stop` as blocks of `step` (the last may be shorter), each with one array per group.

    The arrays of the last blocks are still computing on return.
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


def checkpoint_of(cache: Sequence[Any]) -> Checkpoint:
    """Return the states of all layers, copied from the batch; the copies are still computing on return."""
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
    """Return a cache for one sequence of `length` tokens, with room for `room` more.

    The last block holds `surplus` tokens too many.
    """
    tensors = iter(_joined(layout, blocks, surplus, room))
    states = iter(state.tree if state is not None else ())
    arrays = state.arrays if state is not None else []

    def put_back(value: Any) -> Any:
        if isinstance(value, dict):
            return copy.deepcopy(arrays[value["array"]])  # caches write into their arrays; MLX copies only then
        if isinstance(value, list):
            return [put_back(inner) for inner in value]
        return value

    def build(layer: LayerLayout) -> Any:
        assert layer.name in KNOWN, layer.name
        kind = getattr(caches, layer.name)
        match layer.kind:
            case "list":
                return kind(*(build(child) for child in layer.children))
            case "tokens":
                return kind.from_state((next(tensors), next(tensors), length))
            case "unused":
                return kind()
            case "state":
                return kind.from_state(put_back(next(states)))

    return [build(layer) for layer in layout.layers]


def _joined(layout: CacheLayout, blocks: Sequence[Sequence[mx.array]], surplus: int, room: int) -> list[mx.array]:
    """Return the tensors that grow by token, in their order."""
    tensors: dict[int, mx.array] = {}
    for index, group in enumerate(layout.groups):
        pieces = [block[index] for block in blocks if block]  # a checkpoint may follow a whole block directly
        if surplus:
            pieces[-1] = pieces[-1][:, :, : pieces[-1].shape[2] - surplus]
        if len(pieces) * len(group.members) > SLICES:
            pieces = [mx.concatenate(pieces, axis=2)]
        spare = mx.zeros((1, group.heads, room, group.width), pieces[0].dtype)
        for place, member in enumerate(group.members):
            tensors[member] = mx.concatenate([*(piece[place : place + 1] for piece in pieces), spare], axis=2)
    return [tensors[member] for member in sorted(tensors)]


def _flat(layers: Sequence[LayerLayout]) -> list[LayerLayout]:
    return [found for layer in layers for found in (_flat(layer.children) if layer.kind == "list" else [layer])]


def _states(cache: Sequence[Any]) -> list[Any]:
    found: list[Any] = []
    for part in cache:
        if type(part) is caches.CacheList:
            found += _states(part.caches)
        elif type(part) is not caches.KVCache:
            found.append(part)
    return found

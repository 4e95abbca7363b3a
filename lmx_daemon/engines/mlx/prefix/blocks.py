"""A node of the prefix cache as what a file holds, and back.

Writing takes evaluated arrays as they lie in memory. Reading makes arrays from bytes alone, which schedules nothing on
any stream, so that it may happen on the disk's thread; what was read changes the prefix cache only when it is `put`.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import msgspec
import numpy as np
import numpy.typing as npt

from lmx_daemon.engines.mlx.prefix.cache import Node, PrefixCache
from lmx_daemon.engines.mlx.prefix.files import BadBlockError, Header, Scratch, Stored, read_block
from lmx_daemon.engines.mlx.prefix.keys import BLOCK, chain, end_key
from lmx_daemon.engines.mlx.prefix.parts import Layout, State


class About(msgspec.Struct, frozen=True, array_like=True):
    """What a block's header holds for us."""

    layout: Layout
    states: int
    """So many of its arrays, the last ones, are states."""
    tree: Any


@dataclass(frozen=True)
class Loaded:
    """A block read back."""

    stored: Stored
    tokens: bytes
    arrays: list[mx.array]
    types: list[str]
    """What `arrays` are to be seen as: numpy knows no bfloat16."""
    about: About

    def put(self, prefixes: PrefixCache, namespace: str) -> Node | None:
        """Into memory; engine thread only. None where what it follows is not there, or the model's caches differ."""
        layout, stored = self.about.layout, self.stored
        parent = prefixes.node(namespace, stored.parent)
        if parent is None or layout != (prefixes.layout or layout):
            return None
        prefixes.layout = layout
        seen = [_seen_as(array, name) for array, name in zip(self.arrays, self.types, strict=True)]
        parts = seen[: len(seen) - self.about.states]
        if stored.kind != "block":
            state = State(self.about.tree, seen[len(parts) :]) if stored.kind == "end" else None
            return prefixes.add_end(parent, self.tokens, parts, state)
        return parent.children.get(self.tokens) or prefixes.add(parent, self.tokens, parts)


@dataclass(frozen=True)
class Write:
    """A block to be written."""

    stored: Stored
    header: Header
    buffers: list[mx.array]


def as_file(node: Node, layout: Layout, fingerprint: str) -> Write:
    assert node.parent is not None
    state, arrays = node.state, node.arrays
    stored = Stored(
        key=node.key,
        parent=node.parent.key,
        start=node.start,
        length=node.length,
        kind="block" if node.length == BLOCK else "tail" if node.state is None else "end",
        size=sum(part.nbytes for part in arrays),
        used=time.time(),
    )
    about = About(layout, len(state.arrays) if state is not None else 0, state.tree if state is not None else None)
    header = Header(
        fingerprint=fingerprint,
        key=stored.key,
        parent=stored.parent,
        start=stored.start,
        tokens=node.tokens,
        about=msgspec.msgpack.encode(about),
        arrays=tuple((_name_of(part), tuple(part.shape), part.nbytes) for part in arrays),
        checksum=0,
    )
    return Write(stored, header, arrays)


def _name_of(array: mx.array) -> str:
    return str(array.dtype).removeprefix("mlx.core.")


def load_block(folder: Path, stored: Stored, fingerprint: str, scratch: Scratch) -> Loaded:
    header, payloads = read_block(folder, stored, fingerprint, scratch)
    try:
        about = msgspec.msgpack.decode(header.about, type=About)
        arrays = [
            _array(payload, name, shape) for payload, (name, shape, _) in zip(payloads, header.arrays, strict=True)
        ]
    except (msgspec.MsgspecError, ValueError, TypeError, AttributeError) as error:
        (folder / stored.name).unlink(missing_ok=True)
        raise BadBlockError(f"its content cannot be read: {error}") from error
    if stored.key != (chain if stored.kind == "block" else end_key)(stored.parent, header.tokens):
        (folder / stored.name).unlink(missing_ok=True)
        raise BadBlockError("its tokens are not those of its key")
    return Loaded(stored, header.tokens, arrays, [name for name, _, _ in header.arrays], about)


def _array(payload: npt.NDArray[np.uint8], name: str, shape: tuple[int, ...]) -> mx.array:
    """Evaluated already; on the disk's thread nothing may be computed."""
    return mx.array(payload.view(np.dtype("uint16" if name == "bfloat16" else name)).reshape(shape))


def _seen_as(array: mx.array, name: str) -> mx.array:
    return array.view(mx.bfloat16) if name == "bfloat16" else array

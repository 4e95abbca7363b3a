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

from lmx_daemon.engines.mlx.prefix.block_files import BadBlockError, BlockFile, BlockHeader, ReadBuffer, read_block
from lmx_daemon.engines.mlx.prefix.cache import Node, PrefixCache
from lmx_daemon.engines.mlx.prefix.cache_layout import CacheLayout, Checkpoint
from lmx_daemon.engines.mlx.prefix.keys import BLOCK, chain, end_key


class BlockMetadata(msgspec.Struct, frozen=True, array_like=True):
    """What a block's header holds for us."""

    layout: CacheLayout
    states: int
    """So many of its arrays, the last ones, are states."""
    tree: Any


@dataclass(frozen=True)
class LoadedBlock:
    """A block read back."""

    stored: BlockFile
    tokens: bytes
    arrays: list[mx.array]
    types: list[str]
    """What `arrays` are to be seen as: numpy knows no bfloat16."""
    about: BlockMetadata

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
            state = Checkpoint(self.about.tree, seen[len(parts) :]) if stored.kind == "end" else None
            return prefixes.add_end(parent, self.tokens, parts, state)
        return parent.children.get(self.tokens) or prefixes.add(parent, self.tokens, parts)


@dataclass(frozen=True)
class BlockWrite:
    """A block to be written."""

    stored: BlockFile
    header: BlockHeader
    buffers: list[mx.array]


def block_write(node: Node, layout: CacheLayout, fingerprint: str) -> BlockWrite:
    assert node.parent is not None
    state, arrays = node.state, node.arrays
    stored = BlockFile(
        key=node.key,
        parent=node.parent.key,
        start=node.start,
        length=node.length,
        kind="block" if node.length == BLOCK else "tail" if node.state is None else "end",
        size=sum(part.nbytes for part in arrays),
        used=time.time(),
    )
    states, tree = (len(state.arrays), state.tree) if state is not None else (0, None)
    about = BlockMetadata(layout, states, tree)
    header = BlockHeader(
        fingerprint=fingerprint,
        key=stored.key,
        parent=stored.parent,
        start=stored.start,
        tokens=node.tokens,
        about=msgspec.msgpack.encode(about),
        arrays=tuple((_name_of(part), tuple(part.shape), part.nbytes) for part in arrays),
        checksum=0,
    )
    return BlockWrite(stored, header, arrays)


def _name_of(array: mx.array) -> str:
    return str(array.dtype).removeprefix("mlx.core.")


def load_block(folder: Path, stored: BlockFile, fingerprint: str, scratch: ReadBuffer) -> LoadedBlock:
    header, payloads = read_block(folder, stored, fingerprint, scratch)
    try:
        about = msgspec.msgpack.decode(header.about, type=BlockMetadata)
        arrays = [
            _array(payload, name, shape) for payload, (name, shape, _) in zip(payloads, header.arrays, strict=True)
        ]
    except (msgspec.MsgspecError, ValueError, TypeError, AttributeError) as error:
        (folder / stored.name).unlink(missing_ok=True)
        raise BadBlockError(f"its content cannot be read: {error}") from error
    if stored.key != (chain if stored.kind == "block" else end_key)(stored.parent, header.tokens):
        (folder / stored.name).unlink(missing_ok=True)
        raise BadBlockError("its tokens are not those of its key")
    return LoadedBlock(stored, header.tokens, arrays, [name for name, _, _ in header.arrays], about)


def _array(payload: npt.NDArray[np.uint8], name: str, shape: tuple[int, ...]) -> mx.array:
    """Evaluated already; on the disk's thread nothing may be computed."""
    return mx.array(payload.view(np.dtype("uint16" if name == "bfloat16" else name)).reshape(shape))


def _seen_as(array: mx.array, name: str) -> mx.array:
    return array.view(mx.bfloat16) if name == "bfloat16" else array

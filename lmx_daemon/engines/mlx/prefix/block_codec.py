"""Conversion of a node of the prefix cache to the content of a file and back.

Writing takes evaluated arrays as they lie in memory. Reading makes arrays from bytes alone, which schedules nothing on
any MLX stream and so may happen on the disk thread. `LoadedBlock.put` then inserts them on the engine thread.
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
from lmx_daemon.engines.mlx.prefix.block_keys import BLOCK, chain, end_key
from lmx_daemon.engines.mlx.prefix.cache import PrefixCache
from lmx_daemon.engines.mlx.prefix.cache_layout import CacheLayout, Checkpoint
from lmx_daemon.engines.mlx.prefix.nodes import Node


class BlockMetadata(msgspec.Struct, frozen=True, array_like=True):
    """The part of a block's header that describes its arrays."""

    layout: CacheLayout
    states: int
    """Number of arrays, the last ones, that belong to the checkpoint."""
    tree: Any


@dataclass(frozen=True)
class LoadedBlock:
    """A block that was read from disk."""

    stored: BlockFile
    tokens: bytes
    arrays: list[mx.array]
    types: list[str]
    """Types to view `arrays` as: numpy has no bfloat16."""
    metadata: BlockMetadata

    def put(self, prefixes: PrefixCache, namespace: str) -> Node | None:
        """Insert the block into memory, on the engine thread. None if its parent is missing or the layout differs."""
        layout, stored = self.metadata.layout, self.stored
        parent = prefixes.node(namespace, stored.parent)
        if parent is None or layout != (prefixes.layout or layout):
            return None
        prefixes.layout = layout
        seen = [_seen_as(array, name) for array, name in zip(self.arrays, self.types, strict=True)]
        parts = seen[: len(seen) - self.metadata.states]
        if stored.kind != "block":
            checkpoint = Checkpoint(self.metadata.tree, seen[len(parts) :]) if stored.kind == "end" else None
            return prefixes.add_end(parent, self.tokens, parts, checkpoint)
        return parent.children.get(self.tokens) or prefixes.add(parent, self.tokens, parts)


@dataclass(frozen=True)
class BlockWrite:
    """A block to write."""

    stored: BlockFile
    header: BlockHeader
    buffers: list[mx.array]


def block_write(node: Node, layout: CacheLayout, fingerprint: str) -> BlockWrite:
    """Return the write of an evaluated node."""
    assert node.parent is not None
    checkpoint, arrays = node.checkpoint, node.arrays
    stored = BlockFile(
        key=node.key,
        parent=node.parent.key,
        start=node.start,
        length=node.length,
        kind="block" if node.length == BLOCK else "tail" if node.checkpoint is None else "end",
        size=sum(part.nbytes for part in arrays),
        used=time.time(),
    )
    states, tree = (len(checkpoint.arrays), checkpoint.tree) if checkpoint is not None else (0, None)
    metadata = BlockMetadata(layout, states, tree)
    header = BlockHeader(
        fingerprint=fingerprint,
        key=stored.key,
        parent=stored.parent,
        start=stored.start,
        tokens=node.tokens,
        metadata=msgspec.msgpack.encode(metadata),
        arrays=tuple((_name_of(part), tuple(part.shape), part.nbytes) for part in arrays),
        checksum=0,
    )
    return BlockWrite(stored, header, arrays)


def _name_of(array: mx.array) -> str:
    return str(array.dtype).removeprefix("mlx.core.")


def load_block(folder: Path, stored: BlockFile, fingerprint: str, buffer: ReadBuffer) -> LoadedBlock:
    """Read a block. Raises BadBlockError, after deleting the file, and OSError."""
    header, payloads = read_block(folder, stored, fingerprint, buffer)
    try:
        metadata = msgspec.msgpack.decode(header.metadata, type=BlockMetadata)
        arrays = [
            _array(payload, name, shape) for payload, (name, shape, _) in zip(payloads, header.arrays, strict=True)
        ]
    except (msgspec.MsgspecError, ValueError, TypeError, AttributeError) as error:
        (folder / stored.name).unlink(missing_ok=True)
        raise BadBlockError(f"its content cannot be read: {error}") from error
    if stored.key != (chain if stored.kind == "block" else end_key)(stored.parent, header.tokens):
        (folder / stored.name).unlink(missing_ok=True)
        raise BadBlockError("its tokens are not those of its key")
    return LoadedBlock(stored, header.tokens, arrays, [name for name, _, _ in header.arrays], metadata)


def _array(payload: npt.NDArray[np.uint8], name: str, shape: tuple[int, ...]) -> mx.array:
    """Return an evaluated array: nothing may be computed on the disk thread."""
    return mx.array(payload.view(np.dtype("uint16" if name == "bfloat16" else name)).reshape(shape))


def _seen_as(array: mx.array, name: str) -> mx.array:
    return array.view(mx.bfloat16) if name == "bfloat16" else array

"""A read of blocks from disk for one prompt. It has no access to files or threads."""

from dataclasses import dataclass, field

from lmx_daemon.engines.mlx.prefix.block_codec import LoadedBlock
from lmx_daemon.engines.mlx.prefix.block_files import BlockFile
from lmx_daemon.engines.mlx.prefix.block_keys import BLOCK
from lmx_daemon.engines.mlx.prefix.cache import PrefixCache
from lmx_daemon.engines.mlx.prefix.nodes import Node


@dataclass(eq=False)
class DiskRead:
    """A read, created by the engine thread, filled by the disk thread, and handed back when `done`."""

    namespace: str
    data: bytes
    wanted: list[BlockFile]
    loaded: list[LoadedBlock] = field(default_factory=list)
    done: bool = False

    def put(self, prefixes: PrefixCache) -> list[Node]:
        """Insert the loaded blocks into memory, possibly beyond its bound, and return their nodes."""
        nodes: list[Node] = []
        for loaded in self.loaded:
            if (node := loaded.put(prefixes, self.namespace)) is None:
                break
            nodes.append(node)
        self.loaded.clear()
        path = prefixes.walk(self.namespace, self.data)
        # Before any eviction: a block must not be evicted before the blocks that follow it.
        prefixes.touch([*path, *(node for node in nodes if node.length < BLOCK)])
        return nodes

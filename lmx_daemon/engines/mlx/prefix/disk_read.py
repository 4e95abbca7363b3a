"""What one prompt wants of the disk, on its way into memory. It knows neither files nor threads."""

from dataclasses import dataclass, field

from lmx_daemon.engines.mlx.prefix.block_codec import LoadedBlock
from lmx_daemon.engines.mlx.prefix.block_files import BlockFile
from lmx_daemon.engines.mlx.prefix.cache import Node, PrefixCache
from lmx_daemon.engines.mlx.prefix.keys import BLOCK


@dataclass(eq=False)
class DiskRead:
    """Made by the engine thread, filled by the disk's, and the engine thread's again once it is done."""

    namespace: str
    data: bytes
    wanted: list[BlockFile]
    loaded: list[LoadedBlock] = field(default_factory=list)
    done: bool = False

    def put(self, prefixes: PrefixCache) -> list[Node]:
        """What has come goes into memory, and may be more than that may hold."""
        nodes: list[Node] = []
        for loaded in self.loaded:
            if (node := loaded.put(prefixes, self.namespace)) is None:
                break
            nodes.append(node)
        self.loaded.clear()
        path = prefixes.walk(self.namespace, self.data)
        # Before anything is evicted: a block never goes before those that follow it.
        prefixes.touch([*path, *(node for node in nodes if node.length < BLOCK)])
        return nodes

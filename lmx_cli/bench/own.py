"""The local daemon as a server under test: its address, versions, and the memory of its processes."""

import psutil

from lmx_cli.bench.server import ServerUnderTest
from lmx_cli.own_port import own_port
from lmx_cli.remote import refuse_remote
from lmx_daemon.client.client import Client
from lmx_daemon.client.spawn import find_or_start
from lmx_daemon.contract.admin.protocol import LoadRequest
from lmx_daemon.contract.models import GUIDE
from lmx_daemon.settings.paths import Home


async def own_server(home: Home, model: str | None, key: str | None) -> ServerUnderTest:
    """Start the daemon if it is not running, load the model, and return the daemon as a server under test.

    Without `key`, the key of programs of this machine is used if one is required.

    The default model is the loaded model with the latest use, or lmx/guide if no model is loaded.
    """
    refuse_remote("a benchmark of the own daemon")
    status = await find_or_start(home)
    async with Client.of(home) as client:
        if model is None:
            ready = [instance for instance in await client.instances() if instance.state == "ready"]
            ready.sort(key=lambda instance: instance.used_at or 0.0)
            model = ready[-1].model if ready else GUIDE
        if all(i.model != model or i.state != "ready" for i in await client.instances()):
            async for _ in client.load(LoadRequest(model=model)):
                pass
        port = await own_port(client, home, status)
        status = await client.status()  # versions and backend are known once a worker has reported them

    async def memory() -> int | None:
        return resident(status.pid)

    return ServerUnderTest(
        "lmx",
        port.address,
        model,
        key=key or port.key,
        memory=memory,
        versions=status.versions,
        backend=status.backend,
        software=f"lmx {status.version}",
    )


def resident(pid: int) -> int | None:
    """Return the resident bytes of a process and its descendants, or None if the process has ended."""
    try:
        root = psutil.Process(pid)
        return sum(_resident(process) for process in [root, *root.children(recursive=True)])
    except psutil.Error:
        return None


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0

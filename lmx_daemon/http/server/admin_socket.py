"""The admin socket: it is bound again when its path was removed or replaced while the daemon runs."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import uvicorn

from lmx_daemon.http.server.sockets import bind_admin
from lmx_daemon.monitor.logs import log

CHECK_SECONDS = 3.0
"""Time between two checks of the path."""

OnEnd = Callable[["asyncio.Task[None]"], None]


class AdminSocket:
    """The servers of the admin app, one for each time that the path was bound. Used on the event loop only.

    An earlier server cannot be reached by its path, but it keeps its open connections until `close`.
    """

    def __init__(self, path: Path) -> None:
        """Bind the path. Raises StartupError."""
        self._path = path
        self._listener = bind_admin(path)
        self._bound = self._identity()
        self._servers: dict[asyncio.Task[None], uvicorn.Server] = {}

    def serve(self, make: Callable[[], uvicorn.Server], on_end: OnEnd) -> None:
        """Start a server of `make` on the socket. `on_end` is called with the task of each server that ends."""
        self._make, self._on_end = make, on_end
        self._start()

    def check(self) -> None:
        """Bind the path and start a server if the path is not this daemon's socket. Raises StartupError."""
        if self._identity() == self._bound:
            return
        self._listener = bind_admin(self._path)
        self._bound = self._identity()
        self._start()
        log("daemon", "warning", f"{self._path} was removed or replaced; it is bound again")

    async def close(self) -> None:
        """End all servers and remove the path."""
        for server in self._servers.values():
            server.should_exit = True
        await asyncio.wait(list(self._servers))
        self._path.unlink(missing_ok=True)

    def _start(self) -> None:
        server = self._make()
        task = asyncio.create_task(server.serve(sockets=[self._listener]))
        task.add_done_callback(self._on_end)
        self._servers[task] = server

    def _identity(self) -> tuple[int, int] | None:
        """Return the device and inode of the file at the path; None if there is none."""
        try:
            status = self._path.lstat()
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino

"""The daemon program: startup and shutdown. `assembly` builds its parts."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TextIO

import uvloop

from lmx_daemon.assembly import assemble
from lmx_daemon.chats.answers import UNWRITTEN_SECONDS
from lmx_daemon.chats.title_maker import LOOK_SECONDS as TITLE_SECONDS
from lmx_daemon.contract.addresses import is_loopback
from lmx_daemon.contract.admin.protocol import LoadRequest
from lmx_daemon.contract.errors import LmxError, StartupError
from lmx_daemon.contract.text import one_line
from lmx_daemon.contract.version import VERSION
from lmx_daemon.http.app import admin_app, public_app_of
from lmx_daemon.http.parts import Parts
from lmx_daemon.http.server.admin_socket import CHECK_SECONDS, AdminSocket
from lmx_daemon.http.server.connections import ADMIN_CONNECTIONS, ConnectionLimit
from lmx_daemon.http.server.open_files import connections_within, raise_limit
from lmx_daemon.http.server.public_port import PublicPort
from lmx_daemon.http.server.sockets import take_lock
from lmx_daemon.http.server.tls import CHECK_SECONDS as TLS_CHECK_SECONDS
from lmx_daemon.http.server.tls import Tls
from lmx_daemon.http.server.uvicorn_server import UvicornServer
from lmx_daemon.library.library import LOOK_SECONDS
from lmx_daemon.monitor.logs import log
from lmx_daemon.monitor.snapshot import SAMPLE_SECONDS
from lmx_daemon.monitor.worker_log import WorkerLog
from lmx_daemon.power.awake import LOOK_SECONDS as AWAKE_SECONDS
from lmx_daemon.residency.pool import Pool
from lmx_daemon.settings.live_config import WATCH_SECONDS, LiveConfig
from lmx_daemon.settings.network import take_certificates
from lmx_daemon.settings.paths import Home
from lmx_daemon.settings.schema import Settings
from lmx_daemon.shutdown import disk_threads, end_threads, tidy
from lmx_daemon.storage.backup import exclude
from lmx_daemon.storage.keys import has_key

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM)
"""Signals that stop the daemon in order. By default they would end it, and every stream, at once."""


def main(arguments: Sequence[str]) -> int:
    """Run the daemon until it is stopped, and return the exit code."""
    try:
        home = Home.from_environment()
        home.make()
        options = parse(arguments)
        config = LiveConfig(home, os.environ, flags_of(options), partial(check_exposure, home))
        raise_limit()
        with take_lock(home):
            exclude(home.caches)
            return uvloop.run(Daemon(home, config, options.model, console=options.console).run())
    except LmxError as error:
        say(f"error: {error.message}", sys.stderr)
        if error.hint:
            say(f"hint: {error.hint}", sys.stderr)
        return 1


def say(line: str, stream: TextIO) -> None:
    """Write a line to standard output or standard error, unbuffered, so that nothing is left to fail at the exit.

    A full disk or a terminal that is gone must not end the daemon.
    """
    with suppress(OSError, ValueError):
        os.write(stream.fileno(), f"{one_line(line)}\n".encode())


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="lmx_daemon", description="The lmx daemon; `lmx serve` starts it.")
    parser.add_argument("--console", action="store_true", help="write the log to standard error as well")
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    parser.add_argument("--model", action="append", default=[], help="load at once; repeatable")
    return parser.parse_args(arguments)


def flags_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that flags give, by their dotted names."""
    given = {"server.host": options.host, "server.port": options.port}
    return {path: value for path, value in given.items() if value not in (None, "")}


def check_exposure(home: Home, settings: Settings) -> None:
    """Raise StartupError for an address that other machines reach without an API key."""
    server = settings.server
    if not is_loopback(server.host) and not server.api_key and not has_key(home.keys):
        raise StartupError(
            f"{server.host or 'every address'} can be reached by other machines, and there is no API key",
            hint="make one: lmx key create NAME; or set LMX_API_KEY, or bind 127.0.0.1",
        )


class Daemon:
    def __init__(self, home: Home, config: LiveConfig, preloads: list[str], *, console: bool = False) -> None:
        self._home = home
        self._config = config
        self._source = config.source
        self._preloads = preloads
        self._console = console
        self._exit_code = 0

    async def run(self) -> int:
        """Open the sockets, serve until stopped, end all workers, and return the exit code."""
        home = self._home
        self._stopping, self._hurry = asyncio.Event(), asyncio.Event()
        executor = disk_threads()
        asyncio.get_running_loop().set_default_executor(executor)
        port = self._port = PublicPort(self._source.current.server)
        self._admin = AdminSocket(home.socket)
        addresses = port.addresses
        with WorkerLog(home.worker_log_file) as worker_log:
            self._assembly = assemble(home, self._config, port, worker_log, self.stop, console=self._console)
            parts = self._assembly.parts
            app = public_app_of(parts, lambda: self._source.current.server, port.address, addresses)
            limit = ConnectionLimit(lambda: connections_within(self._source.current.server.max_connections))
            port.serve(partial(self._server, app, limit), self._server_ended)
            admin_limit = ConnectionLimit(lambda: connections_within(ADMIN_CONNECTIONS))
            self._admin.serve(lambda: self._server(admin_app(parts), admin_limit), self._server_ended)
            self._take_signals(parts.pool)
            log("daemon", "info", f"lmx {VERSION} serves at {', '.join(addresses)}, home {home.root}")
            for note in (*self._config.view().notes, *filter(None, (take_certificates(os.environ),))):
                log("settings", "warning", note)
            say(f"lmx {VERSION} serves at {' and '.join(f'{each}/v1' for each in addresses)}", sys.stdout)
            await self._until_stopped(parts)
            await port.close()
            await parts.chats.close()
            await asyncio.gather(parts.pool.close(), parts.pulls.close())
            await self._assembly.awake.close()
            await self._assembly.observation.close()
            await tidy(parts.library)
            parts.logs.end()
            await self._admin.close()
            await end_threads(executor, self._exit_code)
            log("daemon", "info", "stopped")
            parts.logs.close()
        return self._exit_code

    async def _until_stopped(self, parts: Parts) -> None:
        """Serve until stopped, then drain. No request is left when it returns."""
        pool, monitor = parts.pool, parts.monitor
        pool.background.every(SAMPLE_SECONDS, "the monitor", monitor.sample)
        pool.background.every(LOOK_SECONDS, "the library's watch", parts.library.look)
        pool.background.every(CHECK_SECONDS, "the admin socket", self._admin.check)
        pool.background.every(WATCH_SECONDS, "the watch of config.toml", self._config.look)
        pool.background.every(TITLE_SECONDS, "the titles of chats", self._assembly.titles.look)
        pool.background.every(UNWRITTEN_SECONDS, "the answers of chats", parts.chats.look)
        pool.background.every(WATCH_SECONDS, "the API keys", partial(asyncio.to_thread, parts.keys.look))
        if (tls := self._port.tls) is not None:
            pool.background.every(TLS_CHECK_SECONDS, "the certificate", partial(asyncio.to_thread, tls.look))
        pool.background.every(AWAKE_SECONDS, "the guard against sleep", self._assembly.awake.look)
        pool.open()
        parts.pulls.open()
        self._assembly.observation.open()
        for model in self._preloads:
            pool.background.run(self._preload(parts, model))
        await self._stopping.wait()
        monitor.draining = True
        log("daemon", "info", "stopping")
        await self._drain(pool)

    def _server_ended(self, task: "asyncio.Task[None]") -> None:
        """Stop the daemon if a server has ended unexpectedly; a daemon that serves nothing must not hold its socket."""
        error = None if task.cancelled() else task.exception()
        if self._stopping.is_set() and error is None:
            return
        log("daemon", "error", f"a server ended unexpectedly: {error!r}; the daemon stops")
        self._exit_code = 1
        self.stop()

    def stop(self) -> None:
        """Begin the shutdown. A second call ends the drain at once."""
        if self._stopping.is_set():
            self._hurry.set()
        self._stopping.set()

    def _take_signals(self, pool: Pool) -> None:
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, lambda: pool.background.run(self._config.refresh()))

    async def _drain(self, pool: Pool) -> None:
        drain = asyncio.create_task(pool.drain(self._source.current.server.drain_seconds))
        hurry = asyncio.create_task(self._hurry.wait())
        await asyncio.wait([drain, hurry], return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if not drain.done():
            drain.cancel()
            await pool.drain(0.0)

    def _server(self, app: Any, limit: ConnectionLimit, tls: Tls | None = None) -> UvicornServer:
        return UvicornServer(app, lambda: self._source.current.server.stall_seconds, limit, tls)

    async def _preload(self, parts: Parts, model: str) -> None:
        try:
            found = await parts.router.model_to_load(model)
            async for instance in parts.pool.load(LoadRequest(model=found.id, pin=True)):
                if instance.state == "ready":
                    log("daemon", "info", f"{found.id} is loaded")
        except LmxError as error:
            log("daemon", "error", f"{model} was not loaded: {error.message}")
            say(f"error: {model} was not loaded: {error.message}", sys.stderr)

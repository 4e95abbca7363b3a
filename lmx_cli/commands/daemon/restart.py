"""`lmx restart`: the daemon stopped and started again, with the options that it ran with."""

import asyncio
import os
from typing import TYPE_CHECKING

import typer

from lmx_cli.commands.daemon.life import stop_daemon
from lmx_cli.commands.options import JSON
from lmx_cli.output import ExitCode, Output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lmx_cli.service.system import ServiceSystem
    from lmx_daemon.contract.admin.snapshot import Status
    from lmx_daemon.settings.paths import Home

POLL_SECONDS = 0.1


def add(app: typer.Typer, output: Output) -> None:
    @app.command()
    def restart(json: bool = JSON) -> int:
        """Stop the daemon and start it in the background with the same options. Running streams can finish first.

        If the service runs the daemon, the service restarts it. If no daemon runs, one is started.
        """
        return asyncio.run(_restart(output, json))


async def _restart(output: Output, json: bool) -> int:
    from lmx_daemon.settings.paths import Home

    status, words = await restart_daemon(output, Home.from_environment())
    output.json({"running": True, "status": status}) if json else output.text(words)
    return ExitCode.OK


async def restart_daemon(output: Output, home: "Home") -> "tuple[Status, str]":
    """Stop the daemon and start it as it ran before; return its status, and its address in a sentence.

    Raises LmxError.
    """
    from lmx_daemon.client.spawn import find_daemon, start_daemon

    running = await find_daemon(home)
    arguments: Sequence[str] | None = []
    service = service_of(running)
    if running is None:
        output.note("lmx is not running, and is started")
    else:
        arguments = _take_options(running.pid)
        await stop_daemon(home, running)
    if service is not None:
        await asyncio.to_thread(service.start)
        status = await _answer(home)
        return status, f"lmx serves at {status.address}/v1 (pid {status.pid}), run by {service.name}"
    status = await start_daemon(home, arguments or [])
    if arguments is None:
        output.note("the options of the former daemon could not be read; those of config.toml are in force")
    elif arguments:
        output.note(f"options as before: {' '.join(arguments)}")
    return status, f"lmx serves at {status.address}/v1 (pid {status.pid}), in the background"


def options_of(command: "Sequence[str]") -> list[str] | None:
    """Return the options in the command line of a daemon; None if it is none. `--console` belongs to a terminal."""
    if "lmx_daemon" not in command:
        return None
    options = command[list(command).index("lmx_daemon") + 1 :]
    return [option for option in options if option != "--console"]


def _take_options(pid: int) -> list[str] | None:
    """Return the options of the running daemon, and take over its LMX_ variables; None if they cannot be read.

    A key given by `lmx serve --api-key` is such a variable.
    """
    import psutil

    try:
        process = psutil.Process(pid)
        options = options_of(process.cmdline())
        os.environ.update({name: value for name, value in process.environ().items() if name.startswith("LMX_")})
    except psutil.Error:
        return None
    return options


def service_of(running: "Status | None") -> "ServiceSystem | None":
    """Return the service if it runs this daemon, or if it is installed and no daemon runs."""
    from lmx_cli.service.choose import service_system
    from lmx_cli.service.installation import is_installed
    from lmx_daemon.contract.errors import LmxError

    try:
        system = service_system()
        if not is_installed(system):
            return None
        state = system.state()
    except LmxError:  # no service control here, such as a login without systemd's user instance
        return None
    if running is None:
        return system if state.loaded else None
    return system if state.pid == running.pid else None


async def _answer(home: "Home") -> "Status":
    """Return the status of the daemon that the service has started. Raises StartupError."""
    from lmx_daemon.client.spawn import START_SECONDS, find_daemon
    from lmx_daemon.contract.errors import DaemonSilentError, StartupError

    deadline = asyncio.get_running_loop().time() + START_SECONDS
    while asyncio.get_running_loop().time() < deadline:
        try:
            status = await find_daemon(home)
        except DaemonSilentError:
            status = None
        if status is not None:
            return status
        await asyncio.sleep(POLL_SECONDS)
    raise StartupError(
        f"the daemon of the service did not answer within {START_SECONDS:.0f} s", hint="see: lmx service logs"
    )

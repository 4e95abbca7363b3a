"""`lmx service`: the daemon as a service of the user, which starts at login and again after a crash."""

import asyncio
import os
from collections import deque
from typing import TYPE_CHECKING

import typer

from lmx_cli.commands.options import JSON
from lmx_cli.output import ExitCode, Output

if TYPE_CHECKING:
    from lmx_cli.service.system import ServiceSystem
    from lmx_daemon.settings.paths import Home

TAIL = 100


def add(app: typer.Typer, output: Output) -> None:
    group = typer.Typer(
        help="Run the daemon at each login, and again after a crash (launchd or systemd).", no_args_is_help=True
    )
    app.add_typer(group, name="service")

    @group.command()
    def install(
        force: bool = typer.Option(False, "--force", help="Replace a file that lmx has not written."),
        json: bool = JSON,
    ) -> int:
        """Install the service of this user and start it. A second call changes nothing."""
        return _install(output, force, json)

    @group.command()
    def uninstall(json: bool = JSON) -> int:
        """Stop the service and remove its file. Models and settings stay."""
        from lmx_cli.service.choose import service_system
        from lmx_cli.service.installation import uninstall as remove

        system = service_system()
        removed = remove(system)
        if json:
            output.json({"removed": removed, "system": system.name, "file": str(system.file)})
        else:
            output.text(f"removed {system.file}" if removed else "the service is not installed")
        return ExitCode.OK

    @group.command()
    def status(json: bool = JSON) -> int:
        """Show whether the service is installed and runs, and how often it was restarted."""
        return _status(output, json)

    @group.command()
    def logs(tail: int = typer.Option(TAIL, "--tail", "-n", min=0, help="Number of last lines.")) -> int:
        """Show the output of the service's daemon, such as the reason of a failed start."""
        return _logs(output, tail)


def _install(output: Output, force: bool, json: bool) -> int:
    from lmx_cli.service.choose import service_system
    from lmx_cli.service.installation import install
    from lmx_cli.service.plan import left_out, service_plan
    from lmx_daemon.settings.layers import read_layers
    from lmx_daemon.settings.paths import Home

    home, system = Home.from_environment(), service_system()
    home.make()
    drain_seconds = read_layers(home.config, {}, {}).settings.server.drain_seconds
    _refuse_second(home, system)
    change = install(system, service_plan(home, os.environ, drain_seconds), force=force)
    if json:
        output.json({"change": change, "system": system.name, "file": str(system.file)})
    else:
        output.text(f"{change}: {system.file}")
    if change != "unchanged":
        output.note(f"{system.name} starts lmx now, at each login, and again after a crash; see: lmx service status")
        if system.name == "systemd":
            output.note("to run it without a login: loginctl enable-linger")
    if names := left_out(os.environ):
        output.note(f"the service does not get {', '.join(names)} of this shell; use: lmx config set, lmx login")
    return ExitCode.OK


def _refuse_second(home: "Home", system: "ServiceSystem") -> None:
    """Raise StartupError if a daemon runs that the service has not started: the service's own could not start."""
    from lmx_daemon.client.spawn import find_daemon
    from lmx_daemon.contract.errors import StartupError

    running = asyncio.run(find_daemon(home))
    if running is not None and running.pid != system.state().pid:
        raise StartupError(
            f"a daemon already runs at {running.address} (pid {running.pid}), and the service has not started it",
            hint="stop it first with: lmx stop",
        )


def _status(output: Output, json: bool) -> int:
    from lmx_cli.service.choose import service_system
    from lmx_cli.service.installation import is_installed
    from lmx_cli.service.system import ServiceState

    system = service_system()
    installed = is_installed(system)
    state = system.state() if installed else ServiceState()
    if json:
        output.json(
            {
                "installed": installed,
                "system": system.name,
                "file": str(system.file),
                "running": state.pid is not None,
                "pid": state.pid,
                "restarts": state.restarts,
                "detail": state.detail,
            }
        )
    elif not installed:
        output.text("the service is not installed")
        output.note("hint: install it with: lmx service install")
    else:
        running = f"running (pid {state.pid})" if state.pid is not None else "not running"
        restarts = str(state.restarts)
        output.fields(
            [("service", running), (system.name, state.detail), ("restarts", restarts), ("file", str(system.file))]
        )
    return ExitCode.OK if state.pid is not None else ExitCode.NOT_RUNNING


def _logs(output: Output, tail: int) -> int:
    from lmx_daemon.contract.errors import LmxError
    from lmx_daemon.settings.paths import Home
    from lmx_daemon.storage.durable import open_owned

    file = Home.from_environment().logs / "service.log"
    try:
        with open_owned(file, "rb") as opened:
            lines = deque(opened, maxlen=tail)
    except FileNotFoundError:
        output.note(f"the service has printed nothing: there is no {file}")
        return ExitCode.OK
    except OSError as error:
        raise LmxError(f"cannot read {file}: {error.strerror or error}", hint=f"see: ls -l {file}") from error
    for line in lines:
        output.text(line.decode(errors="replace").rstrip("\n"))
    output.note("the daemon's log: lmx logs")
    return ExitCode.OK

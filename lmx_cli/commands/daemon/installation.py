"""`lmx self`: the installation of lmx itself, updated or removed by the program that installed it."""

import asyncio
import os
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import typer

from lmx_cli.commands.options import JSON, YES
from lmx_cli.output import ExitCode, Output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lmx_daemon.settings.paths import Home

DRY_RUN = typer.Option(False, "--dry-run", help="Only show what would be done.")


def add(app: typer.Typer, output: Output) -> None:
    group = typer.Typer(help="Update or remove lmx itself.", no_args_is_help=True)
    app.add_typer(group, name="self")

    @group.command()
    def update(dry_run: bool = DRY_RUN, json: bool = JSON) -> int:
        """Update lmx with the program that installed it: uv, pipx, Homebrew or pip. A running daemon keeps running."""
        return _update(output, dry_run, json)

    @group.command()
    def uninstall(dry_run: bool = DRY_RUN, yes: bool = YES, json: bool = JSON) -> int:
        """Stop the daemon and its service, and remove lmx. Models, settings and chats stay, and are listed."""
        return _uninstall(output, dry_run, yes, json)


def _update(output: Output, dry_run: bool, json: bool) -> int:
    from lmx_cli.installation.facts import installation_facts
    from lmx_cli.installation.origin import commands_for

    found = commands_for(installation_facts())
    done = bool(found.update) and not dry_run and _run(found.update)
    if json:
        output.json({"origin": found.origin, "command": found.update, "advice": found.advice, "done": done})
    elif not found.update:
        output.text(found.advice)
    elif dry_run:
        output.text(shlex.join(found.update))
    if done and not json:
        output.note("a running daemon keeps the former version until it is restarted: lmx restart")
    return ExitCode.OK if done or dry_run or not found.update else ExitCode.ERROR


def _uninstall(output: Output, dry_run: bool, yes: bool, json: bool) -> int:
    from lmx_cli.installation.facts import installation_facts
    from lmx_cli.installation.origin import commands_for
    from lmx_daemon.settings.paths import Home

    found, home = commands_for(installation_facts()), Home.from_environment()
    stays = _stays(home)
    if not json:
        for what, place in stays.items():
            output.note(f"stays: {what} in {place}")
    if not dry_run:
        if not output.confirm(f"stop the daemon and remove lmx ({shlex.join(found.uninstall)})?", yes=yes):
            return ExitCode.ERROR
        _stop(output, home)
    done = not dry_run and _run(found.uninstall)
    if json:
        output.json({"origin": found.origin, "command": found.uninstall, "stays": stays, "done": done})
    elif dry_run:
        output.text(shlex.join(found.uninstall))
    return ExitCode.OK if done or dry_run else ExitCode.ERROR


def _stays(home: "Home") -> dict[str, str]:
    """Return the places of the data that an uninstallation leaves on the disk, keyed by the kind of data."""
    from lmx_daemon.contract.errors import ConfigError
    from lmx_daemon.settings.layers import read_settings
    from lmx_daemon.settings.paths import hub_cache

    try:
        chosen = read_settings(home).library.cache
    except ConfigError:  # a faulty file must not prevent the removal
        chosen = None
    places = {"pulled models": hub_cache(os.environ, chosen), "settings, keys, chats and imported models": home.root}
    return {what: str(place) for what, place in places.items() if place.exists()}


def _stop(output: Output, home: "Home") -> None:
    """Remove the service and stop the daemon. Raises LmxError."""
    from lmx_cli.commands.daemon.life import stop_daemon
    from lmx_cli.service.choose import service_system
    from lmx_cli.service.installation import is_installed
    from lmx_cli.service.installation import uninstall as remove_service
    from lmx_daemon.client.spawn import find_daemon
    from lmx_daemon.contract.errors import UnsupportedError

    try:
        system = service_system()
        if is_installed(system):
            remove_service(system)
            output.note(f"removed the service {system.file}")
    except UnsupportedError:
        pass
    if (running := asyncio.run(find_daemon(home))) is not None:
        asyncio.run(stop_daemon(home, running))
        output.note("stopped the daemon")


def _run(command: "Sequence[str]") -> bool:
    """Run a command of an installer with its output on stderr, and return whether it succeeded. Raises LmxError."""
    from lmx_daemon.contract.errors import LmxError

    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False).returncode == 0
    except OSError as error:
        raise LmxError(
            f"cannot run {command[0]}: {error.strerror or error}", hint=f"run it yourself: {shlex.join(command)}"
        ) from error

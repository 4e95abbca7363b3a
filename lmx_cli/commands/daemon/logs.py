"""`lmx logs`: the log of the daemon, which is read from its files, also while no daemon runs."""

import asyncio
import time
from collections import deque
from itertools import takewhile
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lmx_cli.commands.options import JSON
from lmx_cli.output import ExitCode, Output
from lmx_cli.remote import is_remote

if TYPE_CHECKING:
    from lmx_cli.log_files import LogFilter
    from lmx_daemon.contract.admin.snapshot import LogLine

TAIL = 200
REMOTE_LINES = 100_000
"""Number of lines that a daemon of another machine is asked for: all that it has in memory."""
Level = Literal["debug", "info", "warning", "error"]


def add(app: typer.Typer, output: Output) -> None:
    @app.command()
    def logs(
        follow: bool = typer.Option(False, "--follow", "-f", help="Show new lines until interrupted."),
        tail: int = typer.Option(TAIL, "--tail", "-n", min=0, help="Number of last lines."),
        level: Annotated[Level | None, typer.Option("--level", help="Lowest level of the lines.")] = None,
        grep: str = typer.Option("", "--grep", metavar="REGEX", help="Only lines that match this expression."),
        model: str = typer.Option("", "--model", metavar="MODEL", help="Only lines of this model."),
        request: str = typer.Option("", "--request", metavar="ID", help="Only lines of this request."),
        json: bool = JSON,
    ) -> int:
        """Show the daemon's log. With --json, each line is an object.

        A filter is applied before the last lines are counted.
        """
        from lmx_cli.log_files import LogFilter

        found = LogFilter(level=level or "", grep=grep, model=model, request=request)
        return _show_all(output, found, tail, follow, json)

    group = typer.Typer(help="`log stream` follows the log, as `lmx logs -f` does.")
    app.add_typer(group, name="log", hidden=True)

    @group.command()
    def stream(json: bool = JSON) -> int:
        """Show new lines of the log until interrupted."""
        from lmx_cli.log_files import LogFilter

        return _show_all(output, LogFilter(), 0, True, json)


def _show_all(output: Output, found: "LogFilter", tail: int, follow: bool, json: bool) -> int:
    if is_remote():
        return asyncio.run(_remote(output, found, tail, follow, json))
    return _logs(output, found, tail, follow, json)


async def _remote(output: Output, found: "LogFilter", tail: int, follow: bool, json: bool) -> int:
    """Show the lines that the daemon of another machine has in memory."""
    from lmx_daemon.client.client import Client
    from lmx_daemon.settings.paths import Home

    keep = found.keep()
    async with Client.of(Home.from_environment()) as client:
        stored = [line async for line in client.logs(tail=REMOTE_LINES, follow=False)] if tail else []
        for line in deque(filter(keep, stored), maxlen=tail):
            _show(output, line, json)
        if follow:
            async for line in client.logs(tail=0):
                if keep(line):
                    _show(output, line, json)
    return ExitCode.OK


def _logs(output: Output, found: "LogFilter", tail: int, follow: bool, json: bool) -> int:
    from lmx_cli.log_files import lines_of
    from lmx_daemon.contract.errors import LmxError
    from lmx_daemon.settings.paths import Home

    file, keep = Home.from_environment().log_file, found.keep()
    try:
        lines = lines_of(file, follow)
        stored = takewhile(lambda line: line is not None, lines)
        last = deque((line for line in stored if line is not None and keep(line)), maxlen=tail)
        for line in last:
            _show(output, line, json)
        if not last and not follow:
            output.note(f"no matching line in {file}")
        for new in lines:
            if new is not None and keep(new):
                _show(output, new, json)
    except OSError as error:
        raise LmxError(f"cannot read {file}: {error.strerror or error}", hint=f"see: ls -l {file}") from error
    return ExitCode.OK


def _show(output: Output, line: "LogLine", json: bool) -> None:
    if json:
        output.json_line(line)
    elif line.source:
        moment = time.strftime("%m-%d %H:%M:%S", time.localtime(line.at))
        output.paragraph(f"{moment} {line.level:<7} {line.source}: {line.message}")
    else:  # a line that lmx has not written as JSON
        output.text(line.message)

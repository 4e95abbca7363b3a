"""`lmx doctor`: checks of this machine, the installation and the daemon, each with an advice."""

import asyncio
import os
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmx_cli.commands.options import JSON
from lmx_cli.output import ExitCode, Output
from lmx_daemon.contract.errors import UsageError
from lmx_daemon.contract.models import GUIDE

if TYPE_CHECKING:
    from lmx_cli.doctor.checks import CheckResult
    from lmx_cli.doctor.facts import Facts
    from lmx_daemon.settings.paths import Home

MARKS = {"ok": "✓", "warning": "!", "failed": "✗"}
LOG_LINES = 200


def add(app: typer.Typer, output: Output) -> None:
    @app.command()
    def doctor(
        model: Annotated[
            str | None,
            typer.Argument(metavar="MODEL", help="Model for --engine. Default: lmx/guide.", show_default=False),
        ] = None,
        engine: bool = typer.Option(False, "--engine", help="Also try the engine with a model, for about a minute."),
        online: bool = typer.Option(False, "--online", help="Also check that the Hub can be reached."),
        report: Annotated[
            Path | None, typer.Option(metavar="FILE", help="Write a report without secrets to this file.")
        ] = None,
        json: bool = JSON,
    ) -> int:
        """Check this machine, the installation and the daemon. The exit code is 1 if a check fails."""
        if model is not None and not engine:
            raise UsageError("MODEL is for --engine only", hint=f"lmx doctor --engine {model}")
        return _doctor(output, (model or GUIDE) if engine else None, online, report, json)


def _doctor(output: Output, model: str | None, online: bool, report: Path | None, json: bool) -> int:
    from lmx_cli.doctor.checks import checks_of
    from lmx_cli.doctor.examination import examine
    from lmx_daemon.settings.paths import Home

    home = Home.from_environment()
    facts = examine(home, os.environ, online=online)
    checks = checks_of(facts)
    if model is not None:
        checks += _tried(output, home, model, facts)
    failed = any(check.state == "failed" for check in checks)
    if json:
        output.json({"ok": not failed, "checks": checks})
    else:
        rows = [
            (mark, name, text)
            for check in checks
            for mark, name, text in ((MARKS[check.state], check.name, check.message), (" ", "", check.advice))
            if text
        ]
        output.fields([(name, text) for _, name, text in rows], marks=[mark for mark, _, _ in rows])
    if report is not None:
        _write(home, facts, checks, report)
        output.note(f"wrote {report}; read it before you publish it")
    return ExitCode.ERROR if failed else ExitCode.OK


def _tried(output: Output, home: "Home", model: str, facts: "Facts") -> "list[CheckResult]":
    """Return the results of the trials of the engine; they need one that can be imported."""
    from lmx_cli.doctor.checks import CheckResult
    from lmx_cli.doctor.trials import try_engine

    if facts.engine.error:
        return [CheckResult("engine: load", "failed", "not tried, since MLX cannot be used", "see engine above")]
    if facts.daemon is not None:
        output.note("the daemon in use goes on meanwhile; its requests lower the figures of the trials")
    return asyncio.run(try_engine(home, model, output.progress))


def _write(home: "Home", facts: "Facts", checks: "list[CheckResult]", file: Path) -> None:
    """Write the report, readable by its owner only. Raises DiskError."""
    from lmx_cli.doctor.report import report_text
    from lmx_daemon.contract.errors import ConfigError, DiskError
    from lmx_daemon.settings.layers import read_layers
    from lmx_daemon.settings.listing import rows
    from lmx_daemon.storage.durable import write_file

    try:
        layers = read_layers(home.config, os.environ)
        settings = rows(layers, layers.settings)
    except ConfigError:
        settings = ()
    try:
        write_file(file.absolute(), report_text(facts, checks, settings, _warnings(home)).encode(), 0o600)
    except OSError as error:
        raise DiskError(f"cannot write {file}: {error.strerror or error}", hint="give another --report FILE") from error


def _warnings(home: "Home") -> list[str]:
    """Return the last warnings and errors in the daemon's log."""
    from lmx_cli.log_files import LogFilter, lines_of

    keep = LogFilter(level="warning").keep()
    try:
        found = (line for line in lines_of(home.log_file, False) if line is not None and keep(line))
        return [f"{line.at:.0f} {line.level} {line.source}: {line.message}" for line in deque(found, maxlen=LOG_LINES)]
    except OSError as error:
        return [f"the log cannot be read: {error.strerror or error}"]

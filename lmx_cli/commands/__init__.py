"""The command tree. The module of each group adds its commands with `add(app, output)`."""

from typing import Any

import typer

from lmx_cli.help import Commands, complete_help
from lmx_cli.output import Output


def build(output: Output) -> Any:
    """Return the tree as one command object, whose type Typer does not publish."""
    from lmx_cli.commands import (
        alias,
        bench,
        cache,
        chat,
        config,
        daemon,
        disk,
        doctor,
        downloads,
        key,
        launch,
        library,
        login,
        logs,
        models,
        preset,
        pull,
        requests,
        restart,
        search,
        service,
        tui,
        verify,
    )

    app = typer.Typer(
        name="lmx",
        cls=Commands,
        help="Run MLX models on this machine: a server on port 1234, a TUI, and a command line.",
        no_args_is_help=False,
        add_completion=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    library_groups = (models, alias, preset, library, search, verify, disk, cache, pull, downloads, login)
    agents = (chat, launch)
    for group in (tui, daemon, restart, service, doctor, *library_groups, *agents, config, key, requests, logs, bench):
        group.add(app, output)
    command = typer.main.get_command(app)
    _strip_periods(command)
    complete_help(command)
    return command


def _strip_periods(command: Any) -> None:
    """Remove the period at the end of each help text. Docstrings have one, help lines do not."""
    for item in (command, *command.params):
        if getattr(item, "help", None) and not item.help.endswith(".."):
            item.help = item.help.removesuffix(".")
    command.short_help = command.help.partition(". ")[0] if command.help else None
    for subcommand in getattr(command, "commands", {}).values():
        _strip_periods(subcommand)

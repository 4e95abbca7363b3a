"""The command tree, one folder for each group of `lmx --help`. A module adds its commands with `add(app, output)`."""

from typing import Any

import typer

from lmx_cli.help import Commands, complete_help
from lmx_cli.output import Output


def build(output: Output) -> Any:
    """Return the tree as one command object, whose type Typer does not publish."""
    from lmx_cli.commands.chat import chat, chats, launch, tui
    from lmx_cli.commands.daemon import doctor, life, logs, restart, service
    from lmx_cli.commands.disk import cache, disk, library, move, verify
    from lmx_cli.commands.downloads import login, pull, queue, search
    from lmx_cli.commands.measurements import bench, requests
    from lmx_cli.commands.memory import models
    from lmx_cli.commands.settings import alias, completion, config, key, preset

    app = typer.Typer(
        name="lmx",
        cls=Commands,
        help="Run MLX models on this machine: a server on port 1234, a TUI, and a command line.",
        no_args_is_help=False,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    of_models = (models, library, verify, disk, move, cache, search, pull, queue, login)
    others = (
        tui,
        chat,
        chats,
        launch,
        life,
        restart,
        service,
        doctor,
        logs,
        config,
        alias,
        preset,
        key,
        completion,
        requests,
        bench,
    )
    for module in (*of_models, *others):
        module.add(app, output)
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

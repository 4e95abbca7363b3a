"""The command tree. Each group's file has `add(app, output)`."""

from typing import Any

import typer

from lmx_cli.output import Output


def build(output: Output) -> Any:
    """The whole tree as one command object of Typer's, whose type it does not publish."""
    from lmx_cli.commands import (
        bench,
        cache,
        chat,
        daemon,
        disk,
        downloads,
        library,
        login,
        models,
        pull,
        search,
        tui,
        verify,
    )

    app = typer.Typer(
        name="lmx",
        help="Run MLX models on this machine: a server on port 1234, a TUI, and a command line.",
        no_args_is_help=False,
        add_completion=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for group in (tui, daemon, models, library, search, verify, disk, cache, pull, downloads, login, chat, bench):
        group.add(app, output)
    return typer.main.get_command(app)

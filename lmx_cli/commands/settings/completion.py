"""`lmx completion`: the script that completes command lines of lmx in a shell."""

import os
from enum import StrEnum
from typing import Annotated

import typer

from lmx_cli.output import ExitCode, Output


class Shell(StrEnum):
    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


SHELL = Annotated[Shell | None, typer.Argument(help="Shell. Default: the one that $SHELL names.")]


def add(app: typer.Typer, output: Output) -> None:
    @app.command()
    def completion(
        shell: SHELL = None,
        install: bool = typer.Option(
            False, "--install", help="Write the script where the shell reads it, instead of printing it."
        ),
    ) -> int:
        """Print or install the completion of commands, options, models and settings for bash, zsh or fish."""
        return complete_in(output, shell, install)


def complete_in(output: Output, shell: str | None, install: bool) -> int:
    """Print the script of a shell, or install it."""
    from lmx_cli.completion import scripts

    name = shell or scripts.current_shell(os.environ)
    places = scripts.installation(name, os.environ)
    if not install:
        output.content(scripts.SCRIPTS[name])
        return ExitCode.OK
    scripts.install(name, os.environ)
    output.text(f"completion for {name} is installed in {places.script}")
    if places.start is not None:
        output.note(f"{places.start} reads it; open a new shell, or: {places.line}")
    return ExitCode.OK

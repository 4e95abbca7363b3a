"""The command tree, one folder for each group of `lmx --help`. A module adds its commands with `add(app, output)`."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import typer

from lmx_cli.help import GROUPS, Commands, complete_help
from lmx_cli.output import Output

FOLDERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "Models in memory": ("memory", ("models",)),
    "Models on disk": ("disk", ("library", "verify", "disk", "move", "cache")),
    "Downloads": ("downloads", ("search", "pull", "queue", "login")),
    "Chat and agents": ("chat", ("tui", "chat", "chats", "launch")),
    "Daemon": ("daemon", ("life", "restart", "service", "doctor", "logs", "installation")),
    "Settings": ("settings", ("config", "alias", "preset", "key", "completion")),
    "Measurements": ("measurements", ("requests", "bench")),
}
"""Title of each group -> its folder and the modules in it."""
ROOT = "chat.tui"
"""Module with the options of `lmx` itself."""


def build(output: Output, command: str = "") -> Any:
    """Return the tree as one command object, whose type Typer does not publish.

    With the name of a command, the tree has the commands of its group only, which saves a third of the start.
    """
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
    titles = [title for title, names in GROUPS.items() if command in names] or list(FOLDERS)
    modules = [f"{folder}.{module}" for folder, modules in map(FOLDERS.__getitem__, titles) for module in modules]
    for module in dict.fromkeys((ROOT, *modules)):
        import_module(f"lmx_cli.commands.{module}").add(app, output)
    tree = typer.main.get_command(app)
    _strip_periods(tree)
    complete_help(tree)
    return tree


def _strip_periods(command: Any) -> None:
    """Remove the period at the end of each help text. Docstrings have one, help lines do not."""
    for item in (command, *command.params):
        if getattr(item, "help", None) and not item.help.endswith(".."):
            item.help = item.help.removesuffix(".")
    command.short_help = command.help.partition(". ")[0] if command.help else None
    for subcommand in getattr(command, "commands", {}).values():
        _strip_periods(subcommand)

"""Help texts: the groups of commands, and the names of values."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from typer.core import TyperGroup

from lmx_cli.examples import examples_of

GROUPS: Mapping[str, Sequence[str]] = {
    "Daemon": ("serve", "stop", "restart", "status", "service", "logs", "doctor", "self"),
    "Chat and agents": ("tui", "chat", "chats", "demo", "launch"),
    "Models in memory": ("ps", "load", "unload"),
    "Models on disk": ("ls", "show", "import", "verify", "trust", "rm", "du", "prune", "move", "cache"),
    "Downloads": ("search", "recommend", "pull", "downloads", "outdated", "update", "login", "logout"),
    "Settings": ("config", "alias", "preset", "key", "completion"),
    "Measurements": ("requests", "bench"),
}
"""Title of each group of commands -> its commands in order. Other commands follow in a last group."""
OTHER = "Other"
NUMBERS = ("int", "float")
"""Beginnings of the names of Typer's types."""


class Commands(TyperGroup):
    """The commands of lmx, listed by group."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands below the titles of their groups."""
        visible = {name: each for name in self.list_commands(ctx) if (each := self.commands[name]) and not each.hidden}
        grouped = {name for names in GROUPS.values() for name in names}
        groups = {**GROUPS, OTHER: [name for name in visible if name not in grouped]}
        limit = formatter.width - 6 - max(map(len, visible))
        for title, names in groups.items():
            rows = [(name, visible[name].get_short_help_str(limit)) for name in names if name in visible]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


def complete_help(command: Any, name: str = "lmx") -> None:
    """Add metavars and examples to a command and its subcommands."""
    for parameter in command.params:
        if parameter.metavar is None:
            parameter.metavar = _metavar(parameter)
        if parameter.param_type_name == "argument":
            parameter.get_usage_pieces = partial(_usage, parameter)  # Typer would add braces
    subcommands = getattr(command, "commands", {})
    if lines := examples_of(name, subcommands):  # "\b" keeps the line breaks of a paragraph
        command.epilog = "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
    for subname, subcommand in subcommands.items():
        complete_help(subcommand, subname if name == "lmx" else f"{name} {subname}")


def _usage(argument: Any, ctx: Any) -> list[str]:
    return [placeholder(argument)]


def placeholder(argument: Any) -> str:
    """Return an argument as a usage line shows it: MODEL, [MODEL], MODEL... or [MODEL...]."""
    name = (argument.metavar or str(argument.name).upper()) + "..." * (argument.nargs != 1)
    return name if argument.required else f"[{name}]"


def choices_of(parameter: Any) -> list[str]:
    """Return the words that a parameter allows; none if it allows any."""
    return [str(getattr(each, "value", each)) for each in getattr(parameter.type, "choices", ())]


def _metavar(parameter: Any) -> str | None:
    """Return the name of a parameter's value; None for a flag, and for a choice, whose values are shown."""
    if getattr(parameter, "is_flag", False) or choices_of(parameter):
        return None
    name = str(parameter.name).upper()
    if parameter.param_type_name == "argument":
        return name
    return "NUMBER" if parameter.type.name.startswith(NUMBERS) else name.rpartition("_")[2]

"""Help texts: the groups of commands, the names of values, and examples."""

from collections.abc import Mapping, Sequence
from typing import Any

from typer.core import TyperGroup

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
EXAMPLES: Mapping[str, Sequence[str]] = {
    "lmx": ("lmx demo", "lmx pull mlx-community/Qwen3-0.6B-4bit", 'lmx chat qwen3 -p "What is a KV cache?"'),
    "chat": ("lmx chat qwen3", 'lmx chat qwen3 -p "one question"', "git diff | lmx chat qwen3 -p review"),
    "chats": (
        "lmx chats import ~/.lmstudio/conversations",
        "lmx chats search blowhole",
        "lmx chats export c12ab34 --to chat.md",
    ),
    "completion": ("lmx completion --install", "lmx completion zsh"),
    "launch": ("lmx launch", "lmx launch claude", "lmx launch opencode --dry-run", "lmx launch opencode --restore"),
    "load": ("lmx load qwen3", "lmx load qwen3 --context 32768 --parallel 4 --pin", "lmx load qwen3 --estimate"),
    "logs": ("lmx logs -f --level warning", "lmx logs --model qwen3 --json"),
    "ls": ("lmx ls qwen", "lmx ls --can tools --sort size"),
    "move": ("lmx move /Volumes/Models/hub --dry-run", "lmx move ~/models"),
    "pull": ("lmx pull mlx-community/Qwen3-0.6B-4bit", "lmx pull org/model@v1 --detach"),
    "rm": ("lmx rm qwen3", "lmx rm --undo"),
    "serve": ("lmx serve", "lmx serve --detach --model qwen3"),
    "unload": ("lmx unload qwen3", "lmx unload --all"),
    "verify": ("lmx verify qwen3 --repair", "lmx verify --all"),
}
"""Command -> lines that can be typed."""
NUMBERS = ("int", "float")


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
        if parameter.param_type_name == "argument" and not parameter.type_descriptor.is_choice:
            parameter.display_type_rich = lambda ctx: None  # the name is enough; Typer would add <str>
    if name in EXAMPLES:  # "\b" keeps the line breaks of a paragraph
        command.epilog = "\b\nExamples:\n" + "\n".join(f"  {line}" for line in EXAMPLES[name])
    for subname, subcommand in getattr(command, "commands", {}).items():
        complete_help(subcommand, subname if name == "lmx" else f"{name} {subname}")


def _metavar(parameter: Any) -> str | None:
    """Return the name of a parameter's value; None for a flag, and for a choice, whose values are shown."""
    described = parameter.type_descriptor
    if getattr(parameter, "is_flag", False) or described.is_choice:
        return None
    name = str(parameter.name).upper()
    if parameter.param_type_name == "argument":
        return name
    return "NUMBER" if any(number in parameter.bare_type() for number in NUMBERS) else name.rpartition("_")[2]

"""Commands, settings, routes, keys and variables of lmx, read from the code that defines them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from textual.binding import Binding

from lmx_cli.chat.shell_chat import HELP as CHAT_HELP
from lmx_cli.commands import build
from lmx_cli.launch.agents import AGENTS
from lmx_cli.output import Output
from lmx_daemon.http.dialects.registry import public_dialects
from lmx_daemon.settings.keys import NAME, Key, keys
from lmx_tui import keys as bindings

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("lmx_cli", "lmx_tui", "lmx_daemon")
TOP = ""
"""Path of the command `lmx` itself."""
SIGNS = {"escape": "esc", "question_mark": "?", "slash": "/", "f1": "F1", "f2": "F2", "f3": "F3", "f4": "F4"}
"""Name of a key in Textual -> its name in answers, if they differ."""


@dataclass(frozen=True)
class CommandFact:
    """Command of the command line."""

    path: str
    """Words after `lmx`: "key create"."""
    summary: str
    options: frozenset[str]
    subcommands: frozenset[str]
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class CheckoutFacts:
    """Everything that an answer may name."""

    commands: Mapping[str, CommandFact]
    settings: Mapping[str, Key]
    """Settings by their dotted names; those of named tables as `models.ttl`."""
    routes: frozenset[str]
    keys: Mapping[str, tuple[str, ...]]
    """Id of a binding of the TUI -> its keys."""
    slashes: frozenset[str]
    """Slash commands of `lmx chat`."""
    agents: tuple[str, ...]
    """Agents that `lmx launch` starts."""
    text: str
    """Source code, README and documentation, for names of other kinds."""

    def setting(self, path: str) -> Key:
        """Return a setting. Raises LookupError with the path if there is none."""
        if path not in self.settings:
            raise LookupError(f"there is no setting {path}")
        return self.settings[path]


@cache
def facts() -> CheckoutFacts:
    """Return the facts of this checkout."""
    return CheckoutFacts(
        commands={each.path: each for each in commands_below(build(Output()), TOP)},
        settings={key.path.replace(f'"{NAME}".', ""): key for key in keys()},
        routes=frozenset(each.path for dialect in public_dialects().all for each in dialect.operations()),
        keys=dict(keys_of_tui()),
        slashes=frozenset(re.findall(r"(?<!\S)/[a-z]+", CHAT_HELP)),
        agents=tuple(AGENTS),
        text=text_of_checkout(),
    )


def commands_below(command: Any, path: str) -> Iterator[CommandFact]:
    """Yield a command and its subcommands."""
    options = {name for each in command.params if is_option(each) for name in (*each.opts, *each.secondary_opts)}
    arguments = tuple(each.name.upper() for each in command.params if not is_option(each))
    subcommands = getattr(command, "commands", {})
    summary = " ".join((command.help or "").split("\n\n")[0].split()).partition(". ")[0].removesuffix(".")
    yield CommandFact(path, summary, frozenset(options), frozenset(subcommands), arguments)
    for name, each in subcommands.items():
        yield from commands_below(each, f"{path} {name}".strip())


def is_option(parameter: Any) -> bool:
    """Return whether a parameter of a command is an option."""
    return bool(parameter.param_type_name == "option")


def keys_of_tui() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the id and the keys of each binding of the TUI."""
    for group in vars(bindings).values():
        for binding in group if isinstance(group, list) else ():
            if isinstance(binding, Binding) and binding.id:
                yield binding.id, tuple(SIGNS.get(key, key) for key in binding.key.split(","))


def text_of_checkout() -> str:
    """Return the source code of the packages, the README and the documentation."""
    files = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]
    files += [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return "\n".join(file.read_text() for file in files)

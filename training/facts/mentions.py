"""Names of commands, options, settings, routes and keys in an answer, and which of them do not exist. Pure."""

import re
from collections.abc import Iterator

from lmx_cli.verbs import translated
from training.facts.facts import TOP, CheckoutFacts

SPAN = re.compile(r"`([^`]+)`")
PORT = re.compile(r"https?://127\.0\.0\.1:1234")
KEY = re.compile(r"(?:(?:ctrl|shift|alt)\+\S+|F\d+|\S|esc|enter|space|pageup|pagedown|home|end|up|down)")
FOREIGN = ("git ", "uv ", "pipx ", "pip ", "apt ", "hf ", "curl ", "loginctl ", "make ")
"""Beginnings of commands of other programs, which are not checked."""
BARE = re.compile(r"(?<![\w/.-])(--[a-z][\w-]+|(?:ctrl|shift)\+\S+|/(?:v1|api|admin)/\S+|LMX_[A-Z_]+|\[[a-z]+\])")
"""Names that an answer has to put between backticks, so that they are checked."""
HELP = frozenset({"--help", "-h"})


def faults_of(answer: str, facts: CheckoutFacts) -> list[str]:
    """Return what is wrong with the names in an answer, one sentence for each."""
    found = [fault for span in SPAN.findall(answer) if (fault := fault_of(span, facts))]
    prose = SPAN.sub(" ", answer)
    found += [f"{name} has to stand between backticks" for name in BARE.findall(prose)]
    for word in re.findall(r"\blmx ([a-z]+)\b", prose):
        if word in facts.commands[TOP].subcommands:
            found.append(f"lmx {word} has to stand between backticks")
    return found


def commands_in(answer: str, facts: CheckoutFacts) -> Iterator[str]:
    """Yield the paths of the commands that an answer names."""
    for span in SPAN.findall(answer):
        if span.startswith("lmx "):
            yield command_and_rest(span, facts)[0]


def settings_in(answer: str, facts: CheckoutFacts) -> Iterator[str]:
    """Yield the dotted names of the settings that an answer names."""
    for span in SPAN.findall(answer):
        for word in span.split():
            if word in facts.settings:
                yield word


def fault_of(span: str, facts: CheckoutFacts) -> str | None:
    """Return what is wrong with one text between backticks; None if it names something that exists."""
    address = PORT.sub("", span)
    if span == "lmx" or span.startswith("lmx "):
        return fault_of_command(span, facts)
    if span.startswith(FOREIGN):
        return None
    if span.startswith("--"):
        known = any(span.split()[0] in command.options | HELP for command in facts.commands.values())
        return None if known else f"no command has the option {span}"
    if re.fullmatch(r"/[a-z].*", span) and span in facts.slashes:
        return None
    if address.startswith("/"):
        return fault_of_route(address, facts)
    if "." in span and span.partition(".")[0] in {key.partition(".")[0] for key in facts.settings}:
        return None if span in {*facts.settings, "server.json"} else f"there is no setting {span}"
    if KEY.fullmatch(span):
        known = any(span in keys for keys in facts.keys.values())
        return None if known else f"no key of the TUI is {span}"
    parts = re.split(r"[/\s]+", span) if span.startswith("~") else [span]
    missing = [part for part in parts if part not in facts.text]
    return f"{missing[0]} occurs neither in the code nor in the documentation" if missing else None


def fault_of_command(span: str, facts: CheckoutFacts) -> str | None:
    """Return what is wrong with a command line."""
    path, rest = command_and_rest(span, facts)
    command = facts.commands[path]
    if command.subcommands and rest and re.fullmatch(r"[a-z][a-z-]*", rest[0]) and not command.arguments:
        return f"`{span}`: lmx {path} has no command {rest[0]}".replace("lmx  ", "lmx ")
    for word in rest:
        if word == "--":
            break
        name = word.partition("=")[0]
        if re.match(r"--?[a-zA-Z]", name) and name not in command.options | HELP:
            return f"`{span}`: lmx {path} has no option {name}"
    return None


def command_and_rest(span: str, facts: CheckoutFacts) -> tuple[str, list[str]]:
    """Return the path of the command of a command line, and the words after it."""
    path, rest = TOP, translated(span.split()[1:])
    while rest and rest[0] in facts.commands[path].subcommands:
        path = f"{path} {rest.pop(0)}".strip()
    return path, rest


def fault_of_route(address: str, facts: CheckoutFacts) -> str | None:
    """Return what is wrong with a route, or with the base of several."""
    path = re.sub(r"/(?:ID|NAME|MODEL)$", "/", address.split("?")[0]).rstrip("/")
    known = any(re.sub(r"/\{.*", "", route) == path or route.startswith(path + "/") for route in facts.routes)
    return None if known or not path else f"there is no route {address}"

"""The help of every command."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lmx_cli.commands import build
from lmx_cli.examples import EXAMPLES
from lmx_cli.help import GROUPS
from lmx_cli.main import run
from lmx_cli.output import Output
from lmx_daemon.contract import errors

ROOT = Path(__file__).parents[2]
WITHOUT_JSON = {
    "lmx": "opens the TUI",
    "chat": "prints text of a model as it is generated",
    "completion": "prints a script for a shell",
    "config edit": "opens an editor",
    "demo": "opens the TUI",
    "requests export": "prints one Markdown file; `requests show` has the record as JSON",
    "requests replay": "prints text of a model as it is generated",
    "serve": "runs until it is interrupted; `status` describes a daemon in the background",
    "service logs": "prints the lines of a file",
    "tui": "opens the TUI",
}
"""Commands without --json -> the reason."""
ERRORS = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.LmxError)}


def helps(command: Any) -> Iterator[str]:
    yield from (item.help for item in (command, *command.params) if getattr(item, "help", None))
    for subcommand in getattr(command, "commands", {}).values():
        yield from helps(subcommand)


def test_help_texts_end_without_a_period() -> None:
    found = list(helps(build(Output())))
    assert len(found) > 100
    assert not [text for text in found if text.endswith(".") and not text.endswith("..")]


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name, subcommand in getattr(command, "commands", {}).items():
        yield from commands(subcommand, (*path, name))


def test_help_names_values_in_words_and_not_by_their_types(capsys: pytest.CaptureFixture[str]) -> None:
    lines = list(commands(build(Output())))
    assert len(lines) > 40
    for line in lines:
        assert run([*line, "--help"]) == 0
        shown = capsys.readouterr().out
        assert not re.search(r"<(str|int|float|list|path|text)\b", shown), shown


def test_commands_are_listed_by_group_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    sections = [*GROUPS, "Examples"]
    assert [line.strip(" :") for line in shown.splitlines() if line.strip(" :") in sections] == sections
    assert shown.count("\n  pull ") == 1 and "\n    lmx demo\n" in shown


@pytest.mark.parametrize("group", ["alias", "cache", "config", "key", "preset", "self", "service"])
def test_a_group_without_a_command_shows_its_help(capsys: pytest.CaptureFixture[str], group: str) -> None:
    assert run([group, "--help"]) == 0
    page = capsys.readouterr().out
    assert run([group]) == 2
    shown = capsys.readouterr()
    assert shown.err.split() == page.split() and shown.err.count("\n") > 10 and not shown.out


def named(path: tuple[str, ...]) -> str:
    return " ".join(path) or "lmx"


def visible(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if not command.hidden:
        yield path
        for name, subcommand in getattr(command, "commands", {}).items():
            yield from visible(subcommand, (*path, name))


def test_help_of_every_command_has_an_example_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    paths = list(visible(build(Output())))
    assert len(paths) > 80
    for path in paths:
        assert run([*path, "--help"]) == 0
        examples = capsys.readouterr().out.partition("Examples:")[2]
        assert f" lmx {' '.join(path)}".rstrip() in examples, f"lmx_cli/examples.py has no example of {named(path)}"


def test_every_command_prints_json_or_has_a_reason_not_to() -> None:
    def without(command: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
        inner = getattr(command, "commands", {})
        acts = not inner or command.invoke_without_command
        if acts and not any("--json" in option.opts for option in command.params):
            yield named(path)
        for name, subcommand in inner.items():
            yield from without(subcommand, (*path, name))

    assert set(without(build(Output()))) == set(WITHOUT_JSON)


def test_examples_are_command_lines_that_lmx_accepts() -> None:
    tree = build(Output())
    assert set(EXAMPLES) <= {named(path) for path in visible(tree)}
    for name, lines in EXAMPLES.items():
        for line in lines:
            words = shlex.split(line.rpartition("| ")[2].partition(" >")[0])
            assert words[: len(name.split()) + 1] == ["lmx", *name.split()] or name in ("lmx", "status"), line
            parsed(tree, words[1:])


def parsed(command: Any, words: list[str]) -> None:
    """Parse the words as `lmx` does, without running a command."""
    context = command.make_context("lmx", words)
    while inner := getattr(command, "commands", {}):
        left = [*context._protected_args, *context.args]
        if not left:
            return
        command = inner[left[0]]
        context = command.make_context(left[0], left[1:], parent=context)


def test_usage_shows_arguments_as_manuals_do(capsys: pytest.CaptureFixture[str]) -> None:
    for line, usage in {
        "show": "lmx show [OPTIONS] MODEL",
        "doctor": "lmx doctor [OPTIONS] [MODEL]",
        "alias set": "lmx alias set [OPTIONS] NAME MODEL...",
        "preset import": "lmx preset import [OPTIONS] [FILE...]",
    }.items():
        assert run([*line.split(), "--help"]) == 0
        assert capsys.readouterr().out.splitlines()[0] == f"Usage: {usage}"


@pytest.mark.parametrize("line", ["ls", "cache clear", "key create", "bench"])
def test_help_of_a_command_is_that_of_its_option(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = line.split()
    assert run([*path, "--help"]) == 0
    shown = capsys.readouterr().out
    assert run(["help", *path]) == 0
    assert capsys.readouterr().out == shown


@pytest.mark.parametrize("name", [name for names in GROUPS.values() for name in names])
def test_tree_of_one_group_has_the_command_as_the_whole_tree_has_it(name: str) -> None:
    whole, part = build(Output()), build(Output(), name)
    assert len(part.commands) < len(whole.commands) / 2
    assert list(commands(part.commands[name])) == list(commands(whole.commands[name]))
    described = [[(each.name, each.opts, each.help) for each in tree.commands[name].params] for tree in (part, whole)]
    assert described[0] == described[1]
    assert [parameter.name for parameter in part.params] == [parameter.name for parameter in whole.params]


def test_every_error_of_a_command_has_a_hint() -> None:
    """The trials of `lmx doctor --engine` have an advice instead."""
    missing = []
    for file in sorted((ROOT / "lmx_cli").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())) if file.parent.name != "doctor" else ():
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
                ours = node.exc.func.id in ERRORS
                if ours and not any(keyword.arg == "hint" for keyword in node.exc.keywords):
                    missing.append(f"{file.relative_to(ROOT)}:{node.lineno}")
    assert not missing

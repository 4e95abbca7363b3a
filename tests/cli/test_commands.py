"""The help of every command."""

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest

from lmx_cli.commands import build
from lmx_cli.help import EXAMPLES, GROUPS
from lmx_cli.main import run
from lmx_cli.output import Output


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


def test_examples_are_command_lines_that_lmx_accepts() -> None:
    tree = build(Output())
    for name, lines in EXAMPLES.items():
        for line in lines:
            words = shlex.split(line.rpartition("| ")[2])
            command = tree.commands[words[1]]
            assert name in ("lmx", words[1])
            command.make_context(words[1], words[2:])


@pytest.mark.parametrize("name", [name for names in GROUPS.values() for name in names])
def test_tree_of_one_group_has_the_command_as_the_whole_tree_has_it(name: str) -> None:
    whole, part = build(Output()), build(Output(), name)
    assert len(part.commands) < len(whole.commands) / 2
    assert list(commands(part.commands[name])) == list(commands(whole.commands[name]))
    described = [[(each.name, each.opts, each.help) for each in tree.commands[name].params] for tree in (part, whole)]
    assert described[0] == described[1]
    assert [parameter.name for parameter in part.params] == [parameter.name for parameter in whole.params]

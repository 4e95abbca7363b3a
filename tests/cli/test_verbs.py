"""Command lines of ollama and lms, and command lines that lmx refuses."""

import pytest

from lmx_cli.main import run
from lmx_cli.verbs import translated


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("get org/x --detach", "pull org/x --detach"),
        ("list --json", "ls --json"),
        ("models", "ls"),
        ("run org/x hello", "chat org/x hello"),
        ("--debug run org/x", "--debug chat org/x"),
        ("server start --port 8080", "serve --detach --port 8080"),
        ("server stop", "stop"),
        ("server status --json", "status --json"),
        ("help", "--help"),
        ("help cache ls", "cache ls --help"),
        ("help run", "chat --help"),
        ("help server start", "serve --detach --help"),
        ("show list", "show list"),
        ("alias list", "alias list"),
        ("", ""),
    ],
)
def test_command_line_of_another_program_becomes_that_of_lmx(theirs: str, ours: str) -> None:
    assert translated(theirs.split()) == ours.split()


@pytest.mark.parametrize(
    ("line", "error", "hint"),
    [
        ("lss", "Did you mean 'ls'", "lmx --help"),
        ("cache clera", "Did you mean 'clear'", "lmx cache --help"),
        ("stop qwen3", "unexpected extra argument", "lmx unload qwen3"),
        ("server", "No such command", "lmx server start"),
        ("run --nope", "--nope", "lmx chat --help"),
        ("load x --context many", "'many' is not a whole number.", "lmx load --help"),
        ("chat --temperature warm", "'warm' is not a number.", "lmx chat --help"),
        ("ls --sort color", "'color' is not one of 'name'", "lmx ls --help"),
    ],
)
def test_refused_command_line_has_a_hint(line: str, error: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(line.split()) == 2
    written = capsys.readouterr().err
    assert error in written and hint in written


def test_help_of_a_command_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["help", "cache", "ls"]) == 0
    assert "Usage: lmx cache ls" in capsys.readouterr().out

"""The session of lines of `lmx tui --plain`."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from lmx_cli.output import ExitCode, Output
from lmx_cli.plain_shell import HELP, PlainShell

ROOT = Path(__file__).parents[2]


def reader(lines: Iterable[str]) -> Callable[[], str]:
    """Return a function that returns each line, then "" as at the end of a file."""
    left = iter(lines)
    return lambda: next(left, "")


def ran(*lines: str, code: int = 0) -> list[list[str]]:
    """Return the command lines that a session with these lines runs."""
    seen: list[list[str]] = []

    def run(words: list[str], output: Output) -> int:
        seen.append(words)
        return code

    assert PlainShell(Output(), run, reader(f"{line}\n" for line in lines)).loop() == ExitCode.OK
    return seen


def test_each_line_is_a_command_line_of_lmx() -> None:
    assert ran("load org/x", "", "chat 'org/a b'") == [["load", "org/x"], ["chat", "org/a b"]]


def test_names_of_one_word_stand_for_commands() -> None:
    assert ran("loaded", "downloads", "logs") == [["ps"], ["downloads", "list"], ["logs", "--tail", "20"]]


def test_an_option_after_a_name_reaches_the_command_unchanged() -> None:
    assert ran("logs --follow") == [["logs", "--follow"]]


@pytest.mark.parametrize("word", ["quit", "exit", "q"])
def test_quit_ends_the_session_before_the_lines_that_follow(word: str) -> None:
    assert ran("status", word, "models") == [["status"]]


def test_help_lists_the_commands_and_help_of_one_is_that_of_lmx(capsys: pytest.CaptureFixture[str]) -> None:
    assert ran("help", "help pull") == [["help", "pull"]]
    written = capsys.readouterr().out
    assert all(line in written for line in HELP)


def test_an_open_quotation_is_reported_and_the_session_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert ran("chat 'x", "status") == [["status"]]
    assert "close the quotation mark" in capsys.readouterr().err


def test_screens_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert ran("tui", "demo") == []
    assert "tui draws on the screen" in capsys.readouterr().err


def test_ctrl_c_at_the_prompt_does_not_end_the_session(capsys: pytest.CaptureFixture[str]) -> None:
    lines = iter([KeyboardInterrupt, "status\n", ""])

    def read() -> str:
        line = next(lines)
        if line is KeyboardInterrupt:
            raise KeyboardInterrupt
        return str(line)

    seen: list[list[str]] = []
    PlainShell(Output(), lambda words, output: seen.append(words) or 0, read).loop()  # type: ignore[func-returns-value]
    assert seen == [["status"]]


def test_an_interrupted_command_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    ran("pull org/x", code=ExitCode.INTERRUPTED)
    assert "stopped" in capsys.readouterr().out


def test_demo_and_plain_exclude_each_other(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lmx_cli.main", "tui", "--demo", "--plain"]
    environment = os.environ | {"LMX_HOME": str(tmp_path / "home")}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=120)
    assert done.returncode == ExitCode.USAGE
    assert "exclude each other" in done.stderr

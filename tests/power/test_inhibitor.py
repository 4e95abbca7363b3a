"""The child process that keeps the machine awake, with programs in the place of the system's."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lmx_daemon.power.inhibitor import COMMANDS, ChildInhibitor, inhibit, trial
from tests.end_to_end.running import alive, wait_until
from tests.power.programs import HOLDS, lines_of, put_program

REFUSES = "#!/bin/sh\necho 'Failed to inhibit: Access denied' >&2\nexit 1\n"


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Return a function that puts a script in the place of the system's program."""

    def put(script: str) -> Path:
        folder, calls = put_program(tmp_path, script)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        return calls

    return put


def test_command_holds_until_it_is_released(program: Callable[[str], Path]) -> None:
    calls = program(HOLDS)
    held = inhibit()
    wait_until(lambda: lines_of(calls), 20, "the program runs")
    assert lines_of(calls)[0].split()[1] == COMMANDS[sys.platform][1]
    assert held.failure() is None
    process = int(lines_of(calls)[0].split()[0])
    held.release()
    assert not alive(process)


def test_command_ends_with_a_killed_daemon(program: Callable[[str], Path]) -> None:
    calls = program(HOLDS)
    code = "import time; from lmx_daemon.power.inhibitor import inhibit; held = inhibit(); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code]) as daemon:
        wait_until(lambda: lines_of(calls), 20, "the program runs")
        daemon.kill()
    wait_until(lambda: lines_of(calls)[-1] == "released", 20, "the program ends")


def test_refusal_is_named(program: Callable[[str], Path]) -> None:
    program(REFUSES)
    held = inhibit()
    wait_until(lambda: held.failure() is not None, 20, "the program ends")
    assert trial() == (COMMANDS[sys.platform][0], "Failed to inhibit: Access denied")
    held.release()


def test_reason_is_the_last_line_of_the_program() -> None:
    held = ChildInhibitor([sys.executable, "-c", "import sys; sys.exit('one\\ntwo')"])
    wait_until(lambda: held.failure() is not None, 20, "the program ends")
    assert trial(lambda name: None) == ("", f"{COMMANDS[sys.platform][0]} is not installed")
    held.release()


def test_program_that_works_has_no_error(program: Callable[[str], Path]) -> None:
    program(HOLDS)
    assert trial() == (COMMANDS[sys.platform][0], "")

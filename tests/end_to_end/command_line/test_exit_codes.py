"""Which commands start a daemon, and the exit code of each command without one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lmx_cli.commands import build
from lmx_cli.connect import RUNNING_ONLY, WITHOUT_DAEMON
from lmx_cli.output import Output
from tests.end_to_end.running import short_home

LINES = {
    "chats": ("chats", "chats list"),
    "config reload": ("config reload",),
    "ps": ("ps",),
    "requests": ("requests", "requests --live", "requests show x", "requests totals", "requests clear --yes"),
    "status": ("status",),
    "unload": ("unload x", "unload --all"),
}
QUIET = ("cache ls", "completion zsh", "config list", "key list", "logs", "stop", "version", "bench list", "launch")
WALK = """
import json, sys
from contextlib import redirect_stdout
from io import StringIO
from lmx_cli.main import run
found = {}
for line in sys.argv[1].split(";"):
    with redirect_stdout(StringIO()) as shown:
        code = run(line.split())
    found[line] = (code, shown.getvalue())
print(json.dumps(found))
"""


def walked(home: Path, *lines: str) -> dict[str, tuple[int, str]]:
    """Return exit code and stdout of each command line, in a home without a daemon; none of them starts one."""
    import os

    environment = os.environ | {"LMX_HOME": str(home), "HOME": str(home)}
    command = [sys.executable, "-c", WALK, ";".join(lines)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, input="")
    assert ended.returncode == 0, ended.stderr
    assert not (home / "lmx.sock").exists()
    found: dict[str, tuple[int, str]] = json.loads(ended.stdout)
    return found


def test_commands_of_a_running_daemon_end_with_3_and_start_none() -> None:
    assert set(LINES) == set(RUNNING_ONLY)
    found = walked(short_home(), *(line for lines in LINES.values() for line in lines))
    assert {code for code, _ in found.values()} == {3}, found


def test_commands_that_need_no_daemon_end_with_0_and_start_none() -> None:
    found = walked(short_home(), *QUIET)
    assert {code for code, _ in found.values()} == {0}, found


def test_rule_names_commands_that_exist() -> None:
    tree = build(Output())
    assert {name.partition(" ")[0] for name in (*RUNNING_ONLY, *WITHOUT_DAEMON)} <= set(tree.commands)


@pytest.mark.parametrize("json_wanted", [False, True])
def test_every_command_refuses_an_unknown_option_with_2(json_wanted: bool) -> None:
    def leaves(command: object, path: str) -> list[str]:
        inner = getattr(command, "commands", {})
        return [path, *(found for name, each in inner.items() for found in leaves(each, f"{path} {name}".strip()))]

    paths = [path for path in leaves(build(Output()), "") if path not in ("", "config set")]  # whose values have dashes
    lines = [f"{path} --nosuch{' --json' if json_wanted else ''}" for path in paths]
    found = walked(short_home(), *lines)
    assert {code for code, _ in found.values()} == {2}, {line: code for line, (code, _) in found.items() if code != 2}
    if json_wanted:
        assert {json.loads(shown)["error"]["code"] for _, shown in found.values()} == {"usage"}

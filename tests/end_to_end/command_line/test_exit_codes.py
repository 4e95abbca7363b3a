"""The exit code of each command: without a daemon, with a wrong command line, and with a name that does not exist."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from lmx_cli.commands import build
from lmx_cli.connect import RUNNING_ONLY, WITHOUT_DAEMON
from lmx_cli.output import ExitCode, Output
from tests.end_to_end.running import Daemon, short_home

ROOT = Path(__file__).parents[3]
LINES = {
    "chats": ("chats", "chats list"),
    "config reload": ("config reload",),
    "ps": ("ps",),
    "requests": ("requests", "requests --live", "requests show x", "requests totals", "requests clear --yes"),
    "status": ("status",),
    "unload": ("unload x", "unload --all"),
}
WRONG_VALUES = (
    "--host ftp://x ps",
    "bench --run nosuch",
    "bench --streams abc",
    "chat --temperature 99",
    "completion nosuch",
    "config get nosuch",
    "config set nosuch 1",
    "config set server.port abc",
    "config unset server.prot",
    "doctor lmx/guide",
    "key create x --expires soon",
    "key create x --priority high",
    "key create x --scope nosuch",
    "launch nosuch",
    "load",
    "logs --grep [",
    "logs --level loud",
    "nosuch",
    "requests totals --by nosuch",
    "rm --undo --empty --yes",
    "serve --port 65536",
    "unload",
    "update",
    "verify",
)
"""Command lines that are wrong whatever exists on the machine."""
WRONG_TO_THE_DAEMON = (
    "downloads limit abc",
    "preset set x abc",
    "preset set x nosuch=1",
    "preset set x sampling.temperature=warm",
    "pull not-a-repository",
)
"""Command lines that are found to be wrong once a daemon runs."""
UNKNOWN_NAMES = {
    "alias rm nosuch": "not_found",
    "bench compare nosuch": "not_found",
    "bench show nosuch": "not_found",
    "cache clear nosuch --yes": "not_found",
    "chats export nosuch": "chat_not_found",
    "chats import /nosuch": "not_found",
    "chats restore nosuch": "chat_not_found",
    "chats rm nosuch": "chat_not_found",
    "chats show nosuch": "chat_not_found",
    "downloads cancel nosuch --yes": "job_not_found",
    "downloads move nosuch 1": "job_not_found",
    "downloads pause nosuch": "job_not_found",
    "downloads resume nosuch": "job_not_found",
    "downloads retry nosuch": "job_not_found",
    "import /nosuch": "invalid_request",
    "key revoke nosuch": "not_found",
    "load nosuch": "model_not_found",
    "move /nosuch/nosuch": "",
    "preset import /nosuch": "",
    "preset rm nosuch --yes": "not_found",
    "preset show nosuch": "not_found",
    "requests export nosuch": "not_found",
    "requests replay nosuch --model lmx/guide": "request_not_found",
    "requests show nosuch": "request_not_found",
    "rm nosuch --yes": "model_not_found",
    "show nosuch": "model_not_found",
    "trust nosuch --yes": "model_not_found",
    "unload nosuch": "not_found",
    "update nosuch --yes": "model_not_found",
    "verify nosuch": "model_not_found",
}
"""Command line with a name that does not exist -> code of the error."""
WITHOUT_NAMES = {
    *("alias set", "chat", "chats search", "completion", "config get", "config list", "config set", "config unset"),
    *("demo", "doctor", "downloads limit", "key create", "launch", "ls", "preset set", "pull", "search"),
}
"""Commands whose argument is no name of something that exists, or that other tests run."""
QUIET = ("cache ls", "completion zsh", "config list", "key list", "logs", "stop", "version", "bench list", "launch")
WALK = """
import json, shlex, sys
from contextlib import redirect_stdout
from io import StringIO
from lmx_cli.main import run
found = {}
for line in sys.argv[1].split("\t"):
    with redirect_stdout(StringIO()) as shown:
        code = run(shlex.split(line))
    found[line] = (code, shown.getvalue())
print(json.dumps(found))
"""


def walked(home: Path, *lines: str) -> dict[str, tuple[int, str]]:
    """Return exit code and stdout of each command line, in a home without a daemon; none of them starts one."""
    found = codes_of(os.environ | {"LMX_HOME": str(home), "HOME": str(home)}, lines)
    assert not (home / "lmx.sock").exists()
    return found


def codes_of(environment: dict[str, str], lines: Iterable[str]) -> dict[str, tuple[int, str]]:
    """Return exit code and stdout of each command line; all are run in one process."""
    command = [sys.executable, "-c", WALK, "\t".join(lines)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, input="")
    assert ended.returncode == 0, ended.stderr
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


def test_wrong_command_line_ends_with_2_without_a_daemon() -> None:
    found = walked(short_home(), *WRONG_VALUES)
    assert {code for code, _ in found.values()} == {2}, {line: code for line, (code, _) in found.items() if code != 2}


def test_wrong_command_line_ends_with_2_with_a_daemon(daemon: Daemon) -> None:
    lines = [f"{line} --json" for line in WRONG_TO_THE_DAEMON]
    found = codes_of(daemon.env(), [*WRONG_VALUES, *lines])
    assert {code for code, _ in found.values()} == {2}, {line: code for line, (code, _) in found.items() if code != 2}
    assert {json.loads(found[line][1])["error"]["code"] for line in lines} == {"usage"}


def test_unknown_name_ends_with_1_and_the_code_of_the_error(daemon: Daemon) -> None:
    jsonless = ("chats export", "requests export", "requests replay")
    lines = {line: line if line.startswith(jsonless) else f"{line} --json" for line in UNKNOWN_NAMES}
    found = codes_of(daemon.env(), lines.values())
    assert {code for code, _ in found.values()} == {1}, {line: code for line, (code, _) in found.items() if code != 1}
    for line, code in UNKNOWN_NAMES.items():
        if code and lines[line] != line:
            assert json.loads(found[lines[line]][1])["error"]["code"] == code, line


def test_every_command_with_an_argument_has_a_line_with_an_unknown_name() -> None:
    def leaves(command: object, path: str) -> list[str]:
        inner = getattr(command, "commands", {})
        taken = [each for each in getattr(command, "params", []) if each.param_type_name == "argument"]
        own = [path] if taken and path else []
        return [*own, *(found for name, each in inner.items() for found in leaves(each, f"{path} {name}".strip()))]

    named = {path for path in leaves(build(Output()), "") if path not in WITHOUT_NAMES}
    assert {path for path in named if not any(line.startswith(f"{path} ") for line in UNKNOWN_NAMES)} == set()


def test_documentation_has_every_exit_code() -> None:
    pages = [(ROOT / "docs" / name).read_text() for name in ("cli.md", "operations.md")]
    assert all(f"\n| {int(code)} | " in page for code in ExitCode for page in pages)

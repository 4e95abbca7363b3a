"""The output of every command that lists or describes, with long names: widths, pipes and colour."""

import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from lmx_cli.commands import build
from lmx_cli.output import Output
from lmx_cli.text.layout import cells
from lmx_daemon.storage.benchmark import (
    ClientMachine,
    MeasuredTest,
    Measurement,
    Report,
    ServerResult,
    Spread,
    Target,
    keep_report,
)
from tests.end_to_end.running import Daemon
from tests.library.conftest import StandIn
from tests.library.conftest import hub as hub
from tests.library.conftest import hub_process as hub_process
from tests.library.repositories import make_cached
from tests.pty_harness import Terminal

LONG = "an-organisation-with-a-long-name/a-model-whose-name-is-longer-than-any-terminal-is-wide-4bit-DWQ"
NAME = "a-name-that-is-fifty-five-cells-long-for-an-alias-or-key"
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COMMANDS = (
    "ls", "ps", "status", "downloads", "du", "requests", "requests totals --by model", "requests show one",
    "requests --live", "key list", "config list", "config list --changed", "alias list", "preset list",
    f"preset show {NAME}", "search maker", "recommend --all", "outdated", "logs", "cache ls", "bench list",
    "bench show stored", "bench compare stored stored", "doctor", "launch", f"show {LONG}", "rm --list", "trust",
    "load lmx/guide --estimate", "prune --dry-run", "service status", "version", "verify --all",
)  # fmt: skip
TABLES = ("ls", "ps", "downloads", "du", "requests", "alias list", "preset list", "config list", "bench list")
"""Commands of which a pipe gets every name in full."""
WALK = """
import sys
from lmx_cli.main import run
for line in sys.argv[1].split(";"):
    print("==", line, flush=True)
    code = run(line.split())
    print("==", code, flush=True)
"""


def report() -> Report:
    spread = Spread(p50=0.123, p95=0.4, p99=1.5, longest=2.0, count=40)
    measured = Measurement(requests=4, tokens=64, rate=1234.5, first_token=spread, gap=spread)
    results = tuple(ServerResult(server=name, median=measured) for name in ("lmx", "other"))
    return Report(
        id="stored",
        taken_at=1e9,
        version="0.1.0",
        machine=ClientMachine(system="Linux", processor="x" * 60, cores=2, memory=10**9, python="3.11"),
        targets=tuple(Target(name=n, url="http://127.0.0.1:1234", model=LONG, software="lmx 0.1") for n in ("a", "b")),
        tests=(MeasuredTest(name="8 at once, 512 + 128", workload="sweep", outcomes=results),),
        rounds=3,
    )


@pytest.fixture(scope="module")
def full_daemon(hub_process: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Yield a daemon with a long name in every list."""
    root = tmp_path_factory.mktemp("full_daemon")
    make_cached(root / "cache", LONG)
    environment = {
        "HF_HUB_CACHE": str(root / "cache"),
        "HF_ENDPOINT": hub_process.endpoint,
        "HOME": str(root),
        "NO_COLOR": "1",
    }
    daemon = Daemon(environment=environment).start()
    daemon.admin("POST", "/admin/pulls", {"repo": LONG, "endpoint": "http://127.0.0.1:9"})
    assert daemon.lmx("alias", "set", NAME, LONG, "lmx/guide").returncode == 0
    assert daemon.lmx("preset", "set", NAME, f"model={LONG}", "system=Be brief.", "max_tokens=4").returncode == 0
    assert daemon.lmx("key", "create", NAME, "--model", LONG, "--rate", "10").returncode == 0
    assert daemon.lmx("load", "lmx/guide").returncode == 0
    keep_report(daemon.home / "benchmarks", report())
    ask(daemon)
    yield daemon
    assert daemon.stop() == 0


def ask(daemon: Daemon) -> None:
    import httpx2

    body = {"model": "lmx/guide", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
    headers = {"x-request-id": "one", "user-agent": "a-client-with-a-long-name-and-a-version/1.2.3"}
    httpx2.post(f"{daemon.address}/v1/chat/completions", json=body, headers=headers, timeout=60).raise_for_status()


def parts_of(text: str) -> dict[str, tuple[list[str], int]]:
    """Return the lines and the exit code of each command."""
    found: dict[str, tuple[list[str], int]] = {}
    name, lines = "", list[str]()
    for line in ESCAPES.sub("", text).replace("\r\n", "\n").split("\n"):
        if not line.startswith("== "):
            lines.append(line.rpartition("\r")[2])
        elif name:
            found[name], name = (lines, int(line[3:])), ""
        else:
            name, lines = line[3:], []
    return found


def walked(daemon: Daemon, columns: int, commands: tuple[str, ...] = COMMANDS) -> dict[str, tuple[list[str], int]]:
    command = [sys.executable, "-c", WALK, ";".join(commands)]
    environment = daemon.env() | {"COLUMNS": str(columns)}  # pytest-xdist sets it to 80
    with Terminal(command, size=(columns, 24), environment=environment) as terminal:
        assert terminal.wait(150) == 0
        return parts_of(terminal.text)


def too_wide(line: str, columns: int) -> bool:
    """Return whether a line is wider than the terminal although it could be cut between two words."""
    return cells(line) > columns and cells(line.split()[-1]) <= columns - 24


@pytest.mark.parametrize("columns", [80, 60])
def test_output_of_every_command_fits_the_terminal(full_daemon: Daemon, hub: StandIn, columns: int) -> None:
    found = walked(full_daemon, columns)
    assert set(found) == set(COMMANDS)
    wide = ("bench show stored", "bench compare stored stored") if columns < 80 else ()  # 80 columns of figures
    wrong = {
        name: [line for line in lines if too_wide(line, columns)]
        for name, (lines, _) in found.items()
        if name not in wide
    }
    assert not any(wrong.values()), {name: lines for name, lines in wrong.items() if lines}
    assert {name: code for name, (_, code) in found.items() if code == 2} == {}
    titles = " ".join(found["ls"][0][0].split())
    assert titles.startswith("MODEL SIZE") and titles.endswith("STATE")
    (head,) = [line for line in found["ls"][0] if line.startswith("an-org")]
    assert "4bit-DWQ " in head, "the name is cut in its middle"


def test_pipe_gets_every_name_in_full_and_no_escape(full_daemon: Daemon) -> None:
    for name in TABLES:
        shown = full_daemon.lmx(*name.split()).stdout
        assert "\x1b" not in shown and "…" not in shown, shown
        expected = {"ps": "lmx/guide", "requests": "lmx/guide", "config list": "server.port"}.get(name, LONG)
        assert expected in shown, shown


def test_no_color_writes_no_colour_to_a_terminal(full_daemon: Daemon) -> None:
    for colour in ({"NO_COLOR": "1"}, {"NO_COLOR": ""}):
        environment = full_daemon.env() | colour
        command = [sys.executable, "-m", "lmx_cli.main", "ls"]
        with Terminal(command, size=(80, 24), environment=environment) as terminal:
            assert terminal.wait() == 0
        assert ("\x1b[1m" in terminal.text) == (not colour["NO_COLOR"])


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name, subcommand in getattr(command, "commands", {}).items():
        yield from leaves(subcommand, (*path, name))


@pytest.mark.parametrize("columns", [80, 60])
def test_help_of_every_command_fits_the_terminal(full_daemon: Daemon, columns: int) -> None:
    commands = tuple(" ".join([*path, "--help"]) for path in leaves(build(Output())))
    found = walked(full_daemon, columns, commands)
    assert len(found) == len(commands) > 60
    assert not [(name, line) for name, (lines, _) in found.items() for line in lines if cells(line) > columns]


def test_json_of_every_command_is_one_document(full_daemon: Daemon) -> None:
    for name in ("ls", "ps", "alias list", "bench list", "config list", "launch", "downloads"):
        assert json.loads(full_daemon.lmx(*name.split(), "--json").stdout)

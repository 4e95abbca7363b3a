"""What commands write to a real terminal: tables and progress within its width, signals that leave it usable."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lmx_cli.layout import cells
from tests.end_to_end.running import LMX, Daemon
from tests.library.repositories import make_cached
from tests.pty_harness import Terminal

LONG = "an-organisation-with-a-long-name/a-model-whose-name-is-longer-than-any-terminal-is-wide-4bit-DWQ"
FORGED = "bfloat16\nevil/forged  1 B  4bit"
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
PROGRESS = """
import time
from lmx_cli.main import end_on_signals
from lmx_cli.output import Output
output = Output()
end_on_signals(output)
for step in range(60):
    output.progress(f"downloading {step}% · 模型模型模型 of a line that is far wider than the terminal is " + "x" * 60)
    time.sleep(0.05)
output.progress("")
"""


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with lmx/guide in memory, a model of a long name on disk, and a failed pull of it."""
    root = tmp_path_factory.mktemp("shelf")
    make_cached(root / "cache", LONG, torch_dtype=FORGED)
    environment = {"HF_HUB_CACHE": str(root / "cache"), "HF_ENDPOINT": "http://127.0.0.1:9"}
    daemon = Daemon(environment=environment).start()
    daemon.admin("POST", "/admin/pulls", {"repo": LONG, "endpoint": "http://127.0.0.1:9"})
    assert daemon.lmx("load", "lmx/guide").returncode == 0
    yield daemon
    assert daemon.stop() == 0


def shown(daemon: Daemon, *command: str, columns: int) -> list[str]:
    """Return the lines that `command` writes to a terminal of so many columns."""
    with Terminal([*LMX, *command], size=(columns, 24), environment=daemon.env()) as terminal:
        assert terminal.wait() == 0
        return ESCAPES.sub("", terminal.text).replace("\r", "").splitlines()


@pytest.mark.parametrize("command", ["ls", "ps", "downloads", "du"])
def test_tables_fit_the_terminal_and_a_pipe_gets_all(shelf: Daemon, command: str) -> None:
    name = "lmx/guide" if command == "ps" else LONG
    whole = shelf.lmx(command).stdout
    assert name in whole and "…" not in whole.partition("cannot reach")[0]
    for columns in (120, 80, 60, 40):
        lines = [line for line in shown(shelf, command, columns=columns) if "models, " not in line]
        assert max(map(cells, lines)) <= columns, lines
        assert any(name[:5] in line for line in lines)


def test_foreign_text_forges_no_row(shelf: Daemon) -> None:
    rows = shelf.lmx("ls").stdout.splitlines()
    assert len(rows) == 3 and not any(row.startswith("evil/") for row in rows)
    assert not any(line.startswith("evil/") for line in shelf.lmx("show", LONG).stdout.splitlines())


def test_an_absurd_ttl_is_shown_in_few_cells(shelf: Daemon) -> None:
    request = {"model": "lmx/guide", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1, "ttl": 1e300}
    import httpx2

    httpx2.post(f"{shelf.address}/v1/chat/completions", json=request, timeout=60)
    assert max(map(len, shelf.lmx("ps").stdout.splitlines())) < 160


def test_progress_stays_on_one_line_also_when_the_terminal_shrinks() -> None:
    with Terminal([sys.executable, "-c", PROGRESS], size=(60, 24)) as terminal:
        terminal.until(lambda text: "10%" in text)
        terminal.resize((30, 24))
        terminal.until(lambda text: "20%" in text)
        before = len(terminal.text)
        assert terminal.wait() == 0
    drawn = [cells(ESCAPES.sub("", line)) for line in terminal.text.split("\r")]
    later = [cells(ESCAPES.sub("", line)) for line in terminal.text[before:].split("\r")[1:]]
    assert "\n" not in terminal.text and 30 < max(drawn) < 60 and 20 < max(later) < 30


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_progress_with_the_terminal_restored(number: int) -> None:
    with Terminal([sys.executable, "-c", PROGRESS], size=(60, 24)) as terminal:
        terminal.until(lambda text: "10%" in text)
        terminal.signal(number)
        assert terminal.wait() == 128 + number
    assert terminal.text.endswith("\x1b[0m\x1b[?25h\r\x1b[K") and "Traceback" not in terminal.text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_chat_with_the_terminal_restored(shelf: Daemon, number: int) -> None:
    with Terminal([*LMX, "chat", "lmx/guide"], environment=shelf.env()) as terminal:
        terminal.until(lambda text: "> " in text)
        terminal.signal(number)
        assert terminal.wait() == 128 + number
    assert terminal.text.rindex("\x1b[?2004l") > terminal.text.rindex("\x1b[?2004h")
    assert "\x1b[?25h" in terminal.text and "Traceback" not in terminal.text


def test_a_closed_terminal_ends_chat(shelf: Daemon) -> None:
    with Terminal([*LMX, "chat", "lmx/guide"], environment=shelf.env()) as terminal:
        terminal.until(lambda text: "> " in text)
        terminal.hang_up()
        assert terminal.wait() == 128 + signal.SIGHUP


FAILING = "import lmx_cli.commands as c; c.build = lambda output: [][1]; from lmx_cli.main import main; main()"


def test_an_unexpected_error_is_one_line_and_a_hint() -> None:
    ended = subprocess.run([sys.executable, "-c", FAILING], capture_output=True, text=True, timeout=60)
    first, second = ended.stderr.splitlines()
    assert ended.returncode == 1
    assert first.startswith("error: ") and "IndexError" in first and second.startswith("hint: ")


def test_debug_shows_the_traceback(shelf: Daemon) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FAILING],
        env=shelf.env() | {"LMX_DEBUG": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 1 and "Traceback" in ended.stderr and ended.stderr.startswith("error: ")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
@pytest.mark.parametrize("command", [["ls"], ["ls", "--json"], ["--help"]], ids=" ".join)
def test_a_full_disk_behind_stdout_is_an_error(shelf: Daemon, command: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        ended = subprocess.run([*LMX, *command], env=shelf.env(), stdout=full, stderr=subprocess.PIPE, timeout=60)
    assert ended.returncode == 1 and ended.stderr.startswith(b"error: ") and b"Traceback" not in ended.stderr


def test_a_latin_1_terminal_is_no_error(shelf: Daemon) -> None:
    shelf.environment["PYTHONIOENCODING"] = "latin-1"
    try:
        ended = shelf.lmx("status")
        assert ended.returncode == 0 and "Traceback" not in ended.stderr
        assert json.loads(shelf.lmx("ls", "--json").stdout)
    finally:
        del shelf.environment["PYTHONIOENCODING"]


LEAVES = ("\x1b[?1000l", "\x1b[?1003l", "\x1b[?2004l", "\x1b[?1049l", "\x1b[?25h")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_tui_with_the_terminal_restored(shelf: Daemon, number: int) -> None:
    with Terminal([*LMX, "tui"], size=(120, 40), environment=shelf.env()) as terminal:
        terminal.until(lambda text: "lmx/guide" in text)
        terminal.signal(number)
        assert terminal.wait() == 128 + number
    end = terminal.text[-200:]
    assert all(sequence in end for sequence in LEAVES), repr(end)
    assert not re.search(r"\x1b\[\?(1000|1003|1049)h", end) and "Traceback" not in terminal.text


def test_a_closed_terminal_ends_the_tui(shelf: Daemon) -> None:
    with Terminal([*LMX, "tui"], size=(120, 40), environment=shelf.env()) as terminal:
        terminal.until(lambda text: "lmx/guide" in text)
        terminal.hang_up()
        assert terminal.wait(10) == 128 + signal.SIGHUP


def test_an_idle_tui_writes_next_to_nothing(shelf: Daemon) -> None:
    with Terminal([*LMX, "tui"], size=(120, 40), environment=shelf.env()) as terminal:
        terminal.until(lambda text: "lmx/guide" in text)
        terminal.read(2.0)
        before = len(terminal.output)
        terminal.read(3.0)
        assert len(terminal.output) - before < 3 * 5_000
        terminal.type(b"\x11")
        assert terminal.wait() == 0

"""Commands in a real terminal: tables and progress fit its width, and signals restore it."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lmx_cli.text.layout import cells
from tests.end_to_end.running import LMX, Daemon, wait_until
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
def stocked_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Yield a daemon with lmx/guide loaded, a model with a long name on disk, and a failed pull of it."""
    root = tmp_path_factory.mktemp("stocked_daemon")
    make_cached(root / "cache", LONG, torch_dtype=FORGED)
    environment = {"HF_HUB_CACHE": str(root / "cache"), "HF_ENDPOINT": "http://127.0.0.1:9"}
    daemon = Daemon(environment=environment).start()
    daemon.admin("POST", "/admin/pulls", {"repo": LONG, "endpoint": "http://127.0.0.1:9"})
    assert daemon.lmx("load", "lmx/guide").returncode == 0
    yield daemon
    assert daemon.stop() == 0


def shown(daemon: Daemon, *command: str, columns: int) -> list[str]:
    """Return the lines that `command` writes to a terminal of `columns` columns."""
    with Terminal([*LMX, *command], size=(columns, 24), environment=daemon.env()) as terminal:
        assert terminal.wait() == 0
        return ESCAPES.sub("", terminal.text).replace("\r", "").splitlines()


@pytest.mark.parametrize("command", ["ls", "ps", "downloads", "du"])
def test_tables_fit_the_terminal_and_a_pipe_gets_all_columns(stocked_daemon: Daemon, command: str) -> None:
    name = "lmx/guide" if command == "ps" else LONG
    whole = stocked_daemon.lmx(command).stdout
    assert name in whole and "…" not in whole.partition("cannot reach")[0]
    for columns in (120, 80, 60, 40):
        lines = [
            line
            for line in shown(stocked_daemon, command, columns=columns)
            if "models, " not in line and line[:1] != " "
        ]
        assert max(map(cells, lines)) <= columns, lines
        assert any(name[:5] in line for line in lines)


def test_foreign_text_cannot_forge_a_row(stocked_daemon: Daemon) -> None:
    rows = stocked_daemon.lmx("ls").stdout.splitlines()
    assert len(rows) == 3 and not any(row.startswith("evil/") for row in rows)
    assert not any(line.startswith("evil/") for line in stocked_daemon.lmx("show", LONG).stdout.splitlines())


def test_absurd_ttl_is_shown_in_few_cells(stocked_daemon: Daemon) -> None:
    request = {"model": "lmx/guide", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1, "ttl": 1e300}
    import httpx2

    httpx2.post(f"{stocked_daemon.address}/v1/chat/completions", json=request, timeout=60)
    assert max(map(len, stocked_daemon.lmx("ps").stdout.splitlines())) < 160


def test_progress_stays_on_one_line_when_the_terminal_shrinks() -> None:
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
def test_signal_ends_progress_with_the_terminal_restored(number: int) -> None:
    with Terminal([sys.executable, "-c", PROGRESS], size=(60, 24)) as terminal:
        terminal.until(lambda text: "10%" in text)
        terminal.signal(number)
        assert terminal.wait() == 128 + number
    assert terminal.text.endswith("\x1b[0m\x1b[?25h\r\x1b[K") and "Traceback" not in terminal.text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signal_ends_chat_with_the_terminal_restored(stocked_daemon: Daemon, number: int) -> None:
    with Terminal([*LMX, "chat", "lmx/guide"], environment=stocked_daemon.env()) as terminal:
        terminal.until(lambda text: "> " in text)
        terminal.signal(number)
        assert terminal.wait() == 128 + number
    assert terminal.text.rindex("\x1b[?2004l") > terminal.text.rindex("\x1b[?2004h")
    assert "\x1b[?25h" in terminal.text and "Traceback" not in terminal.text


def test_closed_terminal_ends_chat(stocked_daemon: Daemon) -> None:
    with Terminal([*LMX, "chat", "lmx/guide"], environment=stocked_daemon.env()) as terminal:
        terminal.until(lambda text: "> " in text)
        terminal.hang_up()
        assert terminal.wait() == 128 + signal.SIGHUP


def test_chat_asks_before_it_loads_an_unloaded_model_again(stocked_daemon: Daemon) -> None:
    def loaded() -> list[str]:
        return [row["model"] for row in json.loads(stocked_daemon.lmx("ps", "--json").stdout)]

    with Terminal([*LMX, "chat", "lmx/guide"], environment=stocked_daemon.env()) as terminal:

        def type_line(line: str, until: str) -> None:
            before = len(terminal.text)
            terminal.type(line.encode() + b"\n")
            terminal.until(lambda text: text[before:].rstrip(" ").endswith(until), 60.0)

        terminal.until(lambda text: "> " in text)
        type_line("What is lmx?", "\x1b[?2004h>")
        assert stocked_daemon.lmx("unload", "lmx/guide").returncode == 0
        type_line("What port does lmx use?", "load it again? [Y/n]")
        assert "lmx/guide is no longer loaded; /model ID chooses another" in terminal.text
        type_line("n", "\x1b[?2004h>")
        assert loaded() == [], "no request was sent"
        type_line("What port does lmx use?", "load it again? [Y/n]")
        type_line("", "\x1b[?2004h>")
        assert loaded() == ["lmx/guide"]
        terminal.type(b"\x04")
        assert terminal.wait() == 0


FAILING = "import lmx_cli.commands as c; c.build = lambda *arguments: [][1]; from lmx_cli.main import main; main()"


def test_unexpected_error_is_one_line_and_a_hint() -> None:
    ended = subprocess.run([sys.executable, "-c", FAILING], capture_output=True, text=True, timeout=60)
    first, second = ended.stderr.splitlines()
    assert ended.returncode == 1
    assert first.startswith("error: ") and "IndexError" in first and second.startswith("hint: ")


def test_debug_shows_the_traceback(stocked_daemon: Daemon) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FAILING],
        env=stocked_daemon.env() | {"LMX_DEBUG": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 1 and "Traceback" in ended.stderr and ended.stderr.startswith("error: ")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
@pytest.mark.parametrize("command", [["ls"], ["ls", "--json"], ["--help"]], ids=" ".join)
def test_full_disk_behind_stdout_is_an_error(stocked_daemon: Daemon, command: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(
            [*LMX, *command], env=stocked_daemon.env(), stdout=full, stderr=subprocess.PIPE, timeout=60
        )
    assert ended.returncode == 1 and ended.stderr.startswith(b"error: ") and b"Traceback" not in ended.stderr


def test_latin_1_terminal_is_not_an_error(stocked_daemon: Daemon) -> None:
    stocked_daemon.environment["PYTHONIOENCODING"] = "latin-1"
    try:
        ended = stocked_daemon.lmx("status")
        assert ended.returncode == 0 and "Traceback" not in ended.stderr
        assert json.loads(stocked_daemon.lmx("ls", "--json").stdout)
    finally:
        del stocked_daemon.environment["PYTHONIOENCODING"]


LEAVES = ("\x1b[?1000l", "\x1b[?1003l", "\x1b[?2004l", "\x1b[?1049l", "\x1b[?25h")


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT, signal.SIGALRM]
)
def test_signal_ends_the_tui_with_the_terminal_restored(stocked_daemon: Daemon, number: int) -> None:
    with Terminal([*LMX, "tui"], size=(120, 40), environment=stocked_daemon.env()) as terminal:
        terminal.until(lambda text: "lmx/guide" in text)
        terminal.signal(number)
        assert terminal.wait(60) == 128 + number
    end = terminal.text[-200:]
    assert all(sequence in end for sequence in LEAVES), repr(end)
    assert not re.search(r"\x1b\[\?(1000|1003|1049)h", end) and "Traceback" not in terminal.text


def test_closed_terminal_ends_the_tui(stocked_daemon: Daemon) -> None:
    with Terminal([*LMX, "tui"], size=(120, 40), environment=stocked_daemon.env()) as terminal:
        terminal.until(lambda text: "lmx/guide" in text)
        terminal.hang_up()
        assert terminal.wait(10) == 128 + signal.SIGHUP


def test_idle_tui_writes_little(stocked_daemon: Daemon) -> None:
    with Terminal([*LMX, "tui"], size=(120, 40), environment=stocked_daemon.env()) as terminal:
        terminal.until(lambda text: "lmx/guide" in text)
        terminal.read(2.0)
        before = len(terminal.output)
        terminal.read(3.0)
        assert len(terminal.output) - before < 3 * 5_000
        terminal.type(b"\x11")
        assert terminal.wait() == 0


CRASH = """
import sys
from lmx_tui.app import LmxApp

def fail(app):
    token = "hf_" + "secret"
    raise RuntimeError("it broke")

LmxApp.action_help = fail
sys.argv = ["lmx", "tui"]
from lmx_cli.main import main
main()
"""


@pytest.mark.parametrize("debug", [False, True])
def test_crash_of_the_tui_shows_no_local_variables(stocked_daemon: Daemon, debug: bool) -> None:
    environment = stocked_daemon.env() | ({"LMX_DEBUG": "1"} if debug else {})
    with Terminal([sys.executable, "-c", CRASH], size=(120, 40), environment=environment) as terminal:
        terminal.until(lambda text: "lmx/guide" in text)
        terminal.type(b"?")
        assert terminal.wait() == 1
    report = terminal.text.rpartition("\x1b[?1049l")[2]
    assert "error: lmx tui ended unexpectedly: RuntimeError: it broke" in report
    assert "daemon.log" in report.replace("\r\n", "")
    assert ("Traceback" in report) == debug
    assert "hf_secret" not in terminal.text and "Run with" not in report


def test_chat_refuses_an_unknown_model_and_sends_a_leading_slash(stocked_daemon: Daemon) -> None:
    with Terminal([*LMX, "chat", "lmx/guide"], environment=stocked_daemon.env()) as terminal:
        terminal.until(lambda text: "> " in text)
        terminal.type(b"/model lmx/giude\n")
        terminal.until(lambda text: "similar names: lmx/guide" in text)
        terminal.type(b"/model GUI\n")
        terminal.until(lambda text: "now talking to lmx/guide" in text)
        terminal.type(b"//help\n")
        terminal.until(lambda text: "\n" in text.rpartition("//help")[2] and "> " in text.rpartition("//help")[2])
        terminal.type(b"/exit\n")
        assert terminal.wait() == 0
    answer = ESCAPES.sub("", terminal.text.rpartition("//help")[2].partition("> ")[0])
    assert len(answer.strip()) > 10 and "error:" not in answer and "/clear" not in terminal.text


def test_interrupted_load_goes_on_and_names_the_command_that_stops_it(stocked_daemon: Daemon) -> None:
    stocked_daemon.lmx("unload", "--all")
    with Terminal([*LMX, "load", "guide"], environment=stocked_daemon.env()) as terminal:
        terminal.until(lambda text: "lmx/guide " in text)
        terminal.signal(signal.SIGINT)
        assert terminal.wait() == 130
        assert "continues to load lmx/guide; to stop it: lmx unload lmx/guide" in terminal.text
    wait_until(
        lambda: [each["state"] for each in stocked_daemon.admin("GET", "/admin/instances")] == ["ready"],
        30,
        "the load goes on",
    )


def test_chat_has_commands_files_messages_of_several_lines_and_a_history(
    stocked_daemon: Daemon, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("lmx listens on port 1234.\n")
    saved = tmp_path / "chat.json"
    with Terminal([*LMX, "chat", "lmx/guide", "--stats"], environment=stocked_daemon.env()) as terminal:
        terminal.until(lambda text: "> " in text)
        for line, answer in (
            ("/params temperature=0 max_tokens=30", "temperature=0.0, max_tokens=30"),
            ("/params temperature=9", "temperature cannot be '9'"),
            (f"/file {tmp_path / 'notes.txt'}", "goes with the next question, 26 characters"),
        ):
            terminal.type(line.encode() + b"\n")
            terminal.until(lambda text, answer=answer: answer in text)
        terminal.type(b'"""What is\nlmx?"""\n')
        terminal.until(lambda text: "TTFT" in text, 60.0)
        terminal.type(f"/save {saved}\n".encode())
        terminal.until(lambda text: "wrote" in text)
        terminal.type(b"\x04")
        assert terminal.wait() == 0
    question = json.loads(saved.read_text())["messages"][0]["content"]
    assert question == "notes.txt:\n```\nlmx listens on port 1234.\n```\n\nWhat is\nlmx?"
    with Terminal([*LMX, "chat", "lmx/guide"], environment=stocked_daemon.env()) as terminal:
        terminal.until(lambda text: "> " in text)
        terminal.type(b"\x1b[A")
        terminal.until(lambda text: f"/save {saved}"[:20] in text)
        terminal.type(b"\x15/exit\n")
        assert terminal.wait() == 0


def test_chat_sends_an_image_that_a_model_without_vision_refuses(stocked_daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    with Terminal([*LMX, "chat", "lmx/guide", "--stats"], environment=stocked_daemon.env()) as terminal:
        terminal.until(lambda text: "> " in text)
        terminal.type(f"/file {tmp_path / 'a.png'}\n".encode())
        terminal.until(lambda text: "an image of 28 B" in text)
        terminal.type(b"What is this?\n")
        terminal.until(lambda text: "this model does not accept images" in text, 60.0)
        terminal.type(b"What is lmx?\n")  # without the image, and without the refused turn
        terminal.until(lambda text: "TTFT" in text, 60.0)
        terminal.type(b"/exit\n")
        assert terminal.wait() == 0

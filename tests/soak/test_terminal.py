"""The TUI and commands in a real terminal: idle screens, signals at random moments, and hostile names."""

import json
import random
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lmx_cli.text.layout import cells
from tests.end_to_end.running import LMX, Daemon
from tests.library.repositories import make_cached
from tests.pty_harness import Terminal

pytestmark = pytest.mark.slow

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
SCREENS = {"models": b"\x1bOQ", "chat": b"\x1bOR", "monitor": b"\x1bOS"}
SIZE = (120, 40)
IDLE_SECONDS = 10.0
LARGEST_IDLE = 5_000
"""Maximum output of an idle screen in bytes per second."""
LARGEST_CPU = 0.04
HOSTILE = {
    "newline": "bf\nevil/forged  1 B",
    "clear": "bf\x1b[2J\x1b[H",
    "title": "bf\x9d0;owned\x9c",
    "override": "bf\u202e61taolf",
    "zero": "bf\u200b16\ufeff",
}
ENDS = [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT, signal.SIGALRM, signal.SIGABRT]
LEAVES = ("\x1b[?1000l", "\x1b[?1003l", "\x1b[?1049l", "\x1b[?25h")


@pytest.fixture(scope="module")
def stocked_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Yield a daemon with lmx/guide in memory, and a model on disk for each hostile text."""
    cache: Path = tmp_path_factory.mktemp("stocked") / "cache"
    for name, text in HOSTILE.items():
        make_cached(cache, f"tests/{name}", torch_dtype=text, model_type=text)
    daemon = Daemon(environment={"HF_HUB_CACHE": str(cache), "HF_ENDPOINT": "http://127.0.0.1:9"}).start()
    assert daemon.lmx("load", "lmx/guide").returncode == 0
    yield daemon
    assert daemon.stop() == 0


@pytest.mark.parametrize("screen", SCREENS)
def test_idle_screen_uses_little_cpu_and_output(stocked_daemon: Daemon, screen: str) -> None:
    with Terminal([*LMX, "tui"], size=SIZE, environment=stocked_daemon.env()) as terminal:
        terminal.until(lambda text: "lmx/guide" in text)
        terminal.type(SCREENS[screen])
        terminal.read(3.0)
        process, before = psutil.Process(terminal.pid), len(terminal.output)
        begun, used = time.monotonic(), sum(process.cpu_times()[:2])
        terminal.read(IDLE_SECONDS)
        seconds = time.monotonic() - begun
        assert (len(terminal.output) - before) / seconds < LARGEST_IDLE
        assert (sum(process.cpu_times()[:2]) - used) / seconds < LARGEST_CPU


@pytest.mark.parametrize("seed", range(12))
def test_a_signal_at_any_moment_ends_the_tui_in_order(stocked_daemon: Daemon, seed: int) -> None:
    chance = random.Random(seed)
    number = ENDS[seed % len(ENDS)]
    with Terminal([*LMX, "tui"], size=SIZE, environment=stocked_daemon.env()) as terminal:
        terminal.until(lambda text: "\x1b[?1049h" in text)
        for _ in range(chance.randrange(6)):
            terminal.type(chance.choice([*SCREENS.values(), b"hello\r", b"\x0f", b"\x1b", b"?"]))
            terminal.read(chance.random() * 0.4)
        terminal.signal(number)
        assert terminal.wait(15) == 128 + number
    assert all(sequence in terminal.text[-300:] for sequence in LEAVES), repr(terminal.text[-400:])


@pytest.mark.parametrize("seed", range(6))
def test_a_signal_at_any_moment_ends_a_command(stocked_daemon: Daemon, seed: int) -> None:
    chance = random.Random(seed)
    with Terminal([*LMX, "chat", "lmx/guide"], environment=stocked_daemon.env()) as terminal:
        terminal.until(lambda text: "> " in text)
        terminal.type(b"What is lmx and how do I use it?\r")
        terminal.read(chance.random())
        terminal.signal(signal.SIGTERM)
        assert terminal.wait() == 128 + signal.SIGTERM
    assert "Traceback" not in terminal.text and "\x1b[?25h" in terminal.text


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_hostile_names_are_escaped_in_every_command(stocked_daemon: Daemon, columns: int) -> None:
    for command in (["ls"], ["ls", "--json"], ["du"], *(["show", f"tests/{name}"] for name in HOSTILE)):
        piped = stocked_daemon.lmx(*command).stdout
        assert piped.replace("\n", "").isprintable(), command
        assert not any(line.startswith("evil/") for line in piped.splitlines()), command
        with Terminal([*LMX, *command], size=(columns, 24), environment=stocked_daemon.env()) as terminal:
            assert terminal.wait() == 0
        shown = ESCAPES.sub("", terminal.text).replace("\r", "")
        assert shown.replace("\n", "").isprintable(), command
        if command == ["ls"]:
            assert max(map(cells, shown.splitlines())) <= columns
    assert len(json.loads(stocked_daemon.lmx("ls", "--json").stdout)) == len(HOSTILE) + 1

"""Tests of starting a daemon from several programs at once, with real daemons."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from lmx_daemon.client.spawn import find_daemon, start_daemon
from lmx_daemon.contract.errors import StartupError
from lmx_daemon.settings.paths import Home
from tests.end_to_end.running import short_home

QUIET = "[engine]\nwarm_spare = false\n[server]\nport = 0\n"


@pytest.fixture
def home() -> Iterator[Home]:
    found = Home(short_home())
    (found.root / "config.toml").write_text(QUIET)
    yield found
    status = asyncio.run(find_daemon(found))
    if status is not None:
        process = psutil.Process(status.pid)
        process.terminate()
        process.wait(30)


START = """
import asyncio
from lmx_daemon.settings.paths import Home
from lmx_daemon.client.spawn import start_daemon
print(asyncio.run(start_daemon(Home.from_environment())).pid)
"""


def environment(home: Home) -> dict[str, str]:
    return {"LMX_HOME": str(home.root), "PATH": "/usr/bin:/bin"}


def starters(home: Home, count: int) -> list["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", START]
    return [subprocess.Popen(command, env=environment(home), stdout=subprocess.PIPE, text=True) for _ in range(count)]


@pytest.mark.parametrize("count", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_all_simultaneous_starts_succeed_with_one_daemon(home: Home, count: int) -> None:
    started = starters(home, count)
    outputs = {process.communicate(timeout=60)[0].strip() for process in started}
    assert [process.returncode for process in started] == [0] * count
    assert len(outputs) == 1 and int(outputs.pop()) > 0
    assert "serves at" in (home.logs / "start.log").read_text()


def test_a_start_that_loses_the_lock_to_lmx_serve_waits_for_its_answer(home: Home) -> None:
    """The daemon that holds the lock answers only after the other daemon has ended."""
    holder = subprocess.Popen([sys.executable, "-c", HOLD], env=environment(home), stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"locked\n"
    try:
        (starter,) = starters(home, 1)
        assert starter.communicate(timeout=90)[0].strip() == str(holder.pid)
    finally:
        holder.terminate()
        holder.communicate(timeout=30)


HOLD = """
import time
from lmx_daemon import main
take = main.take_lock
def slowly(home):
    lock = take(home)
    print("locked", flush=True)
    log = home.logs / "start.log"
    until = time.monotonic() + 60
    while not (log.exists() and "another lmx daemon uses" in log.read_text()):
        assert time.monotonic() < until, "the other daemon did not end"
        time.sleep(0.05)
    return lock
main.take_lock = slowly
raise SystemExit(main.main([]))
"""


def test_a_start_succeeds_after_the_end_of_a_daemon_that_no_longer_answers(home: Home) -> None:
    code = HOLD.replace("    return lock", "    raise SystemExit(0)").replace("sleep(4)", "sleep(2)")
    holder = subprocess.Popen([sys.executable, "-c", code], env=environment(home), stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"locked\n"
    (started,) = starters(home, 1)  # in a process of its own, which may leave a daemon behind
    assert int(started.communicate(timeout=60)[0]) != holder.pid
    holder.communicate(timeout=30)


def test_a_daemon_that_cannot_start_is_an_error_with_its_own_message(home: Home) -> None:
    (home.root / "config.toml").write_text("[server]\nport = 'many'\n")
    with pytest.raises(StartupError, match=r"server.port"):
        asyncio.run(start_daemon(home))

"""Find the daemon behind a socket, or start one and wait until it answers."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from lmx_daemon.contract.client import Client
from lmx_daemon.contract.config import Home
from lmx_daemon.contract.errors import DaemonSilentError, DaemonUnreachableError, StartupError
from lmx_daemon.contract.types import Status

START_SECONDS = 20.0
POLL_SECONDS = 0.05


async def find_daemon(home: Home) -> Status | None:
    """The status of the daemon on `home`'s socket, None where there is none. Raises DaemonSilentError: one that
    does not answer is there all the same."""
    if not home.socket.exists():
        return None
    async with Client(home.socket) as client:
        try:
            return await client.status()
        except DaemonSilentError:
            raise
        except DaemonUnreachableError:
            return None


async def start_daemon(home: Home, arguments: Sequence[str] = ()) -> Status:
    """Starts a daemon that outlives this program, and waits until it answers. Raises StartupError with what it said."""
    home.make()
    log = home.logs / "start.log"
    process = await asyncio.to_thread(_spawn, home, log, arguments)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        status = await find_daemon(home)
        if status is not None:
            return status
        if process.poll() is not None:
            raise _start_error(log, f"the daemon ended with exit code {process.returncode}")
        await asyncio.sleep(POLL_SECONDS)
    raise StartupError(f"the daemon did not answer within {START_SECONDS:.0f} s", hint=f"see {home.log_file}")


async def find_or_start(home: Home, arguments: Sequence[str] = ()) -> Status:
    return await find_daemon(home) or await start_daemon(home, arguments)


def _spawn(home: Home, log: Path, arguments: Sequence[str]) -> "subprocess.Popen[bytes]":
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "lmx_daemon", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=os.environ | {"LMX_HOME": str(home.root)},
        )


def _start_error(log: Path, fallback: str) -> StartupError:
    """What the daemon printed before it ended: `error: ...` and perhaps `hint: ...`."""
    lines = log.read_text(errors="replace").splitlines()
    message = next((line.removeprefix("error: ") for line in lines if line.startswith("error: ")), None)
    hint = next((line.removeprefix("hint: ") for line in lines if line.startswith("hint: ")), None)
    if message is None:
        return StartupError(f"{fallback}: {lines[-1] if lines else 'it said nothing'}", hint=f"see {log}")
    return StartupError(message, hint=hint)

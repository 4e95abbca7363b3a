"""Discovery and start of the daemon by client programs.

Any number of programs may start it at once: one of them starts the daemon, and the others wait for its answer.
"""

import asyncio
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from lmx_daemon.client.client import Client
from lmx_daemon.client.remote import remote_of
from lmx_daemon.contract.admin.snapshot import Status
from lmx_daemon.contract.errors import DaemonSilentError, DaemonUnreachableError, StartupError
from lmx_daemon.settings.paths import Home, already_running
from lmx_daemon.storage.durable import open_owned, read_regular

START_SECONDS = 20.0
LOCK_SECONDS = 2 * START_SECONDS
"""Time limit for another program that starts the daemon."""
POLL_SECONDS = 0.05
MAX_LOG_BYTES = 16 * 1024 * 1024
RESTART_SECONDS = 1.0
"""Time between two attempts while another daemon holds the lock and does not answer."""


async def find_daemon(home: Home) -> Status | None:
    """Return the status of the daemon on the socket of `home`, or None if there is none.

    Raises DaemonSilentError for a daemon that does not answer in time, since it exists all the same, and for the one
    that LMX_HOST names if it cannot be reached.
    """
    if remote_of(os.environ) is not None:
        async with Client.of(home) as client:
            return await client.status()
    if home.socket.is_symlink() or not home.socket.exists():
        return None
    async with Client(home.socket) as client:
        try:
            return await client.status()
        except DaemonSilentError:
            raise
        except DaemonUnreachableError:
            return None


async def start_daemon(home: Home, arguments: Sequence[str] = ()) -> Status:
    """Start a daemon that outlives this program, and return its status when it answers.

    If another program is starting one already, the status of that daemon is returned. Raises StartupError with the
    daemon's own message if it ends before it answers. LMX_HOST is not read: a daemon is started on this machine.
    """
    home.make()
    deadline = time.monotonic() + LOCK_SECONDS
    lock = os.open(home.start_lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        while time.monotonic() < deadline:
            if (status := await _answering(home)) is not None:
                return status
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return await _answering(home) or await _start(home, arguments)
            await asyncio.sleep(POLL_SECONDS)
    finally:
        os.close(lock)
    raise StartupError(f"another start did not end within {LOCK_SECONDS:.0f} s", hint=f"see {home.log_file}")


async def _start(home: Home, arguments: Sequence[str]) -> Status:
    """Start a daemon. The caller holds the start lock, so that no other program writes its log."""
    log = home.logs / "start.log"
    process = await asyncio.to_thread(_spawn, home, log, arguments)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if (status := await _answering(home)) is not None:
            return status
        if process.poll() is not None:
            error = start_error(log, f"the daemon ended with exit code {process.returncode}")
            if error.message != already_running(home).message:
                raise error
            # The other one was begun by `lmx serve` and still starts, or it is about to end.
            await asyncio.sleep(RESTART_SECONDS)
            if (status := await _answering(home)) is not None:
                return status
            process = await asyncio.to_thread(_spawn, home, log, arguments)
        await asyncio.sleep(POLL_SECONDS)
    raise StartupError(f"the daemon did not answer within {START_SECONDS:.0f} s", hint=f"see {home.log_file}")


async def _answering(home: Home) -> Status | None:
    """Return the status of a daemon that answers; one that starts may be silent for a while."""
    with suppress(DaemonSilentError):
        return await find_daemon(home)
    return None


async def find_or_start(home: Home, arguments: Sequence[str] = ()) -> Status:
    return await find_daemon(home) or await start_daemon(home, arguments)


def _spawn(home: Home, log: Path, arguments: Sequence[str]) -> "subprocess.Popen[bytes]":
    try:
        output = open_owned(log, "wb")
    except OSError as error:
        raise StartupError(f"cannot write {log}: {error.strerror}", hint="move it away") from error
    with output:
        return subprocess.Popen(
            [sys.executable, "-m", "lmx_daemon", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=os.environ | {"LMX_HOME": str(home.root)},
        )


def start_error(log: Path, fallback: str) -> StartupError:
    """Return the error that the daemon printed before it ended: `error: ...` and perhaps `hint: ...`."""
    try:
        lines = read_regular(log, MAX_LOG_BYTES).decode(errors="replace").splitlines()
    except OSError:
        lines = []
    message = next((line.removeprefix("error: ") for line in lines if line.startswith("error: ")), None)
    hint = next((line.removeprefix("hint: ") for line in lines if line.startswith("hint: ")), None)
    if message is None:
        return StartupError(f"{fallback}: {lines[-1] if lines else 'it printed nothing'}", hint=f"see {log}")
    return StartupError(message, hint=hint)

"""A daemon in a temporary home for the trials of the engine. The daemon in use and its home are not touched."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from lmx_daemon.client.client import Client
from lmx_daemon.client.spawn import find_daemon, start_error
from lmx_daemon.contract.errors import DaemonSilentError, LmxError, StartupError
from lmx_daemon.settings.layers import read_settings
from lmx_daemon.settings.paths import Home
from lmx_daemon.settings.writing.edits import with_value
from lmx_daemon.storage.durable import open_owned, write_file

FOLDER = "/tmp"
"""Folder of temporary homes: the path of a socket has at most 104 bytes, and $TMPDIR of macOS is long."""
ARGUMENTS = ("--port", "0", "--host", "127.0.0.1")
START_SECONDS = 60.0
STOP_SECONDS = 15.0
POLL_SECONDS = 0.05
TRUST = "library/trusted.json"
"""State file that lists the models whose code may run."""


@asynccontextmanager
async def trial_daemon(home: Home) -> AsyncIterator[Client]:
    """Yield a client of a daemon with the settings and the models of `home`. Its home is deleted afterwards.

    Raises LmxError if the daemon does not start.
    """
    root = Path(tempfile.mkdtemp(prefix="lmx-doctor-", dir=FOLDER if os.path.isdir(FOLDER) else None))
    trial = Home(root)
    try:
        await asyncio.to_thread(_prepare, home, trial)
        process = await asyncio.to_thread(_spawn, trial)
        try:
            await _answer(trial, process)
            async with Client(trial.socket) as client:
                yield client
        finally:
            await asyncio.to_thread(_end, process)
    finally:
        await asyncio.to_thread(shutil.rmtree, root, ignore_errors=True)


def _prepare(home: Home, trial: Home) -> None:
    """Copy the settings and the trust in models, and add the imported models. A config.toml with faults is left out.

    The warm spare is off, since it would start during a trial.
    """
    trial.make()
    try:
        settings, text = read_settings(home), home.config.read_text() if home.config.exists() else ""
    except (LmxError, OSError, ValueError):
        return
    imported = [str(home.root / "models")] if (home.root / "models").is_dir() else []
    folders = [*settings.library.folders, *imported]
    changes = {("traces", "enabled"): False, ("engine", "warm_spare"): False, ("library", "folders"): folders}
    for path, value in changes.items():
        with suppress(LmxError):  # a form that lmx cannot edit
            text = with_value(text, path, value)
    write_file(trial.config, text.encode(), 0o600)
    with suppress(OSError):
        trusted = (home.root / TRUST).read_bytes()
        (trial.root / TRUST).parent.mkdir(mode=0o700)
        write_file(trial.root / TRUST, trusted, 0o600)


def _spawn(trial: Home) -> "subprocess.Popen[bytes]":
    """Start the daemon in its own session. Ctrl-C then reaches only this program, which ends the daemon."""
    with open_owned(trial.logs / "start.log", "wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "lmx_daemon", *ARGUMENTS],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=os.environ | {"LMX_HOME": str(trial.root)},
        )


async def _answer(trial: Home, process: "subprocess.Popen[bytes]") -> None:
    """Return when the daemon answers. Raises StartupError."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise start_error(trial.logs / "start.log", f"the daemon ended with exit code {process.returncode}")
        with suppress(DaemonSilentError):
            if await find_daemon(trial) is not None:
                return
        await asyncio.sleep(POLL_SECONDS)
    raise StartupError(f"the daemon of the trials did not answer within {START_SECONDS:.0f} s")


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the daemon, whose workers end with it."""
    for _ in range(2):  # the second SIGTERM ends a drain
        process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

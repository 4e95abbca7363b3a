"""The seam to the operating system's service control: what lmx requires of launchd and of systemd."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lmx_cli.service.plan import ServicePlan
from lmx_daemon.contract.errors import LmxError

COMMAND_SECONDS = 600.0
"""Time limit of one command; a stop waits for the daemon's drain."""


@dataclass(frozen=True)
class ServiceState:
    """State of the service as the system reports it."""

    loaded: bool = False
    """Whether the system has read the service file."""
    pid: int | None = None
    restarts: int = 0
    """Number of starts after the first one, crashes included."""
    detail: str = ""
    """State as the system names it, such as "active (running)"."""


class ServiceSystem(Protocol):
    """launchd or systemd."""

    name: str
    file: Path
    """Path of the service file."""

    def content(self, plan: ServicePlan) -> bytes:
        """Return the content of the service file."""

    def load(self) -> None:
        """Make the system read the file, start the service, and start it at each login. Raises LmxError."""

    def unload(self) -> None:
        """Stop the service and end its start at login. Has no effect if it is not loaded. Raises LmxError."""

    def forget(self) -> None:
        """Make the system read its files again after the removal of the file."""

    def start(self) -> None:
        """Start a loaded service that is not running. Raises LmxError."""

    def state(self) -> ServiceState:
        """Return the state. Raises LmxError if the system cannot be asked."""


def run(arguments: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    """Run a command of the system, and return its result, whatever its exit code. Raises LmxError."""
    try:
        return subprocess.run(
            arguments,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=COMMAND_SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError:
        raise LmxError(
            f"{arguments[0]} is not installed on this machine", hint="start the daemon with: lmx serve --detach"
        ) from None
    except subprocess.TimeoutExpired:
        raise LmxError(
            f"{' '.join(arguments)} did not end within {COMMAND_SECONDS:.0f} s",
            hint="run it by hand to see what it waits for",
        ) from None


def checked(arguments: Sequence[str]) -> str:
    """Run a command of the system, and return its output. Raises LmxError with its message if it fails."""
    ended = run(arguments)
    if ended.returncode != 0:
        words = " ".join((ended.stderr or ended.stdout).split()) or f"exit code {ended.returncode}"
        raise LmxError(f"{' '.join(arguments)} failed: {words}", hint=_hint(words))
    return ended.stdout


def _hint(words: str) -> str | None:
    if "connect to bus" in words:
        return "this session has no systemd user instance; log in without su or sudo, or use: lmx serve --detach"
    return None

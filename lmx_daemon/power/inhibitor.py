"""The system's means against sleep: `caffeinate` on macOS, `systemd-inhibit` on Linux, each as a child process.

Both hold while the utility that they run runs. It is `cat`, which ends with its input: a daemon that is killed lets the
machine sleep again. Neither prevents that a user closes the lid of a Mac.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

REASON = "requests or downloads are in progress"
COMMANDS: dict[str, tuple[str, ...]] = {
    "darwin": ("caffeinate", "-i"),
    "linux": ("systemd-inhibit", "--what=idle:sleep", "--who=lmx", f"--why={REASON}", "--mode=block"),
}
"""Commands by sys.platform, without the utility that they run."""
UTILITY = "cat"
STOP_SECONDS = 2.0
TRIAL_SECONDS = 5.0
MAX_MESSAGE = 500


class Inhibitor(Protocol):
    """A means against sleep that is in force until it is released."""

    def failure(self) -> str | None:
        """Return why it is no longer in force; None while it is."""
        ...

    def release(self) -> None:
        """Let the machine sleep again. Blocking."""
        ...


class ChildInhibitor:
    """An inhibitor that is a child process."""

    def __init__(self, command: Sequence[str]) -> None:
        """Start the command. Raises OSError."""
        self._name = os.path.basename(command[0])
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, close_fds=True
        )

    def failure(self) -> str | None:
        """Return why the command has ended; None while it runs."""
        code = self._child.poll()
        return None if code is None else f"{self._name}: {self._message() or f'exit code {code}'}"

    def release(self) -> None:
        """End the command. Blocking, for STOP_SECONDS at most."""
        for stream in (self._child.stdin, self._child.stderr):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        self._child.terminate()
        try:
            self._child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def _message(self) -> str:
        """Return the last line that the command has printed. A descendant may hold the pipe open."""
        assert self._child.stderr is not None
        descriptor = self._child.stderr.fileno()
        os.set_blocking(descriptor, False)
        try:
            lines = os.read(descriptor, MAX_MESSAGE).decode(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1] if lines else ""


def inhibit() -> Inhibitor:
    """Keep this machine awake until the inhibitor is released. Raises OSError."""
    return ChildInhibitor([*_command(), UTILITY])


def trial(find: Callable[[str], str | None] = shutil.which) -> tuple[str, str]:
    """Return the name of the means of this machine, and why it does not work, "" if it does. For `lmx doctor`."""
    try:
        command = _command(find)
    except OSError as error:
        return "", str(error.strerror or error)
    try:
        ended = subprocess.run([*command, "true"], stdin=subprocess.DEVNULL, capture_output=True, timeout=TRIAL_SECONDS)
    except subprocess.TimeoutExpired:
        return command[0], f"no answer within {TRIAL_SECONDS:.0f} s"
    except OSError as error:
        return command[0], str(error.strerror or error)
    lines = ended.stderr.decode(errors="replace").strip().splitlines()
    return command[0], "" if ended.returncode == 0 else (lines[-1] if lines else f"exit code {ended.returncode}")


def _command(find: Callable[[str], str | None] = shutil.which) -> Sequence[str]:
    """Return the command of this system. Raises OSError where there is none."""
    command = COMMANDS.get(sys.platform)
    if command is None:
        raise OSError(0, f"there is no means against sleep on {sys.platform}")
    if find(command[0]) is None:
        raise OSError(0, f"{command[0]} is not installed")
    return command

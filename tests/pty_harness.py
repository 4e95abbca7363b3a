"""A program in a real pseudo-terminal: replies to the queries of Textual, keys, and counts of frames, bytes and CPU."""

import fcntl
import os
import pty
import resource
import select
import signal
import struct
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType

SYNC_QUERY = b"\x1b[?2026$p"
"""Query for synchronized output, which Textual sends at the start."""
SYNC_REPLY = b"\x1b[?2026;2$y"
FRAME = b"\x1b[?2026h"
"""Start of a synchronized update. Textual writes one for each frame."""


def _restore_signals() -> None:
    """Reset signals that a shell may ignore: nohup ignores SIGHUP, a background job SIGINT and SIGQUIT."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


@dataclass(frozen=True)
class Run:
    """Result of a run. Times are in seconds; `cpu` is the user and system time of the program."""

    wall: float
    cpu: float
    peak_bytes: int
    written: int
    frames: int
    first_frame: float | None
    exit_status: int
    output: bytes


def run(
    command: Sequence[str],
    *,
    size: tuple[int, int] = (120, 40),
    environment: Mapping[str, str] | None = None,
    keys: Sequence[tuple[float, bytes]] = (),
    limit: float = 30.0,
) -> Run:
    """Run `command` until it ends, or kill it after `limit` seconds.

    `keys` are pairs of seconds after the first frame and the bytes to type.
    """
    pid, terminal = pty.fork()
    if pid == 0:
        extra = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
        _restore_signals()
        os.execvpe(command[0], list(command), os.environ | extra | dict(environment or {}))
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
    begun = time.monotonic()
    waiting = list(keys)
    output = bytearray()
    frames, first = 0, None
    while True:
        now = time.monotonic() - begun
        if now > limit:
            os.kill(pid, signal.SIGKILL)
            break
        while first is not None and waiting and now - first >= waiting[0][0]:
            os.write(terminal, waiting.pop(0)[1])
        if not select.select([terminal], [], [], 0.02)[0]:
            continue
        try:
            data = os.read(terminal, 1 << 18)
        except OSError:
            break
        if not data:
            break
        output += data
        if SYNC_QUERY in data:
            os.write(terminal, SYNC_REPLY)
        frames += data.count(FRAME)
        if first is None and frames:
            first = time.monotonic() - begun
    _, status, usage = os.wait4(pid, 0)
    os.close(terminal)
    return Run(
        wall=time.monotonic() - begun,
        cpu=usage.ru_utime + usage.ru_stime,
        peak_bytes=_peak(usage),
        written=len(output),
        frames=frames,
        first_frame=first,
        exit_status=status,
        output=bytes(output),
    )


class Terminal:
    """A program in a pseudo-terminal that a test reads, types to, resizes and signals. Killed at the end of `with`."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        size: tuple[int, int] = (80, 24),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.output = bytearray()
        self._status: int | None = None
        ready, go = os.pipe()
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            os.read(ready, 1)  # waits until the size is set
            extra = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
            _restore_signals()
            os.execvpe(command[0], list(command), os.environ | extra | dict(environment or {}))
        self.resize(size)
        os.write(go, b"x")
        os.close(go)
        os.close(ready)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        self.hang_up()

    @property
    def text(self) -> str:
        return self.output.decode(errors="replace")

    def resize(self, size: tuple[int, int]) -> None:
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))

    def type(self, keys: bytes) -> None:
        os.write(self._terminal, keys)

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def hang_up(self) -> None:
        """Close the terminal, as closing its window does."""
        if self._terminal >= 0:
            os.close(self._terminal)
            self._terminal = -1

    def read(self, seconds: float = 0.0) -> None:
        """Read the output of the next `seconds`, and reply to the queries of Textual."""
        deadline = time.monotonic() + seconds
        while select.select([self._terminal], [], [], max(0.0, deadline - time.monotonic()))[0]:
            try:
                data = os.read(self._terminal, 1 << 16)
            except OSError:
                return
            if not data:
                return
            self.output += data
            if SYNC_QUERY in data:
                os.write(self._terminal, SYNC_REPLY)

    def until(self, condition: Callable[[str], object], seconds: float = 20.0) -> None:
        """Read until `condition` holds for all text so far. Fails with the text after `seconds`."""
        deadline = time.monotonic() + seconds
        while not condition(self.text):
            assert time.monotonic() < deadline, f"the condition never held; the terminal has:\n{self.text[-2000:]}"
            self.read(0.05)

    def wait(self, seconds: float = 20.0) -> int:
        """Return the exit code, or minus the signal that ended the program, after reading all of its output."""
        deadline = time.monotonic() + seconds
        while self._status is None:
            assert time.monotonic() < deadline, f"the program has not ended; the terminal has:\n{self.text[-2000:]}"
            if self._terminal >= 0:
                self.read(0.05)
            else:
                time.sleep(0.05)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = os.waitstatus_to_exitcode(status) if pid else None
        if self._terminal >= 0:
            self.read()
        return self._status


def _peak(usage: resource.struct_rusage) -> int:
    """Return the peak resident bytes. `ru_maxrss` is in kilobytes on Linux and in bytes on macOS."""
    return usage.ru_maxrss * (1 if os.uname().sysname == "Darwin" else 1024)

"""Runs a program in a real pseudo-terminal: answers what Textual asks, types keys, counts frames, bytes and CPU."""

import fcntl
import os
import pty
import resource
import select
import signal
import struct
import termios
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ASKS_FOR_SYNC = b"\x1b[?2026$p"
HAS_SYNC = b"\x1b[?2026;2$y"
FRAME = b"\x1b[?2026h"


@dataclass(frozen=True)
class Run:
    """What was seen. Times in seconds; `cpu` is user and system time of the program."""

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
    """Runs `command` until it ends, or kills it after `limit`. `keys`: (seconds from the first frame, bytes)."""
    pid, terminal = pty.fork()
    if pid == 0:
        extra = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
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
        if ASKS_FOR_SYNC in data:
            os.write(terminal, HAS_SYNC)
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


def _peak(usage: resource.struct_rusage) -> int:
    """ru_maxrss counts kilobytes on Linux, bytes on macOS."""
    return usage.ru_maxrss * (1 if os.uname().sysname == "Darwin" else 1024)

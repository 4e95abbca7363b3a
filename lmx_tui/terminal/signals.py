"""Exit of the TUI by a signal, with the terminal restored.

SIGKILL cannot be handled. A crash of the interpreter (SIGSEGV and the like) cannot either: a handler in Python would
never run.
"""

import asyncio
import contextlib
import os
import signal
import sys
import termios
import threading
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

from textual.app import App

LEAVE_SECONDS = 2.0
"""Time limit for an orderly exit of the app: writing to a closed terminal can block."""
RESTORE = b"\x1b[?1000l\x1b[?1003l\x1b[?1015l\x1b[?1006l\x1b[?2004l\x1b[?7h\x1b[<u\x1b[?1049l\x1b[?25h\x1b[?1004l"
"""Sequences that end mouse and paste reporting, the keyboard protocol and the alternate screen, and show the cursor."""
NAMES = (
    *("TERM", "HUP", "USR1", "USR2", "QUIT", "ALRM", "VTALRM", "PROF", "PIPE", "XCPU", "XFSZ", "ABRT"),
    *("TRAP", "SYS", "POLL", "IO", "PWR", "STKFLT", "EMT"),
)
"""Signals that end a process by default, as far as the system has them. SIGINT is Python's own."""
SignalHandler = Callable[[int, FrameType | None], None]


def end_at_once_on_signals() -> SignalHandler:
    """Make signals restore the terminal's current attributes and end the process, while no app runs."""
    attributes: list[Any] | None = None
    with contextlib.suppress(termios.error, OSError, ValueError):
        attributes = termios.tcgetattr(sys.stdin.fileno())
    leave = partial(_leave_at_once, attributes)
    for number in _handled_signals():
        signal.signal(number, leave)
    return leave


def end_on_signals(app: App[Any], leave: SignalHandler) -> None:
    """Make signals exit the app with 128 + the signal number; after LEAVE_SECONDS, call `leave`."""
    loop = asyncio.get_running_loop()
    for number in _handled_signals():
        loop.add_signal_handler(number, _end, app, leave, number)


def _handled_signals() -> list[int]:
    """Return the signals to handle. One that is ignored stays ignored: SIGHUP by nohup, SIGPIPE by Python."""
    named = {getattr(signal, f"SIG{name}", None) for name in NAMES}
    real_time = range(signal.SIGRTMIN, signal.SIGRTMAX + 1) if hasattr(signal, "SIGRTMIN") else ()
    known = {*named, *real_time} & signal.valid_signals()
    return [number for number in sorted(known) if signal.getsignal(number) != signal.SIG_IGN]


def _end(app: App[Any], leave: SignalHandler, number: int) -> None:
    loop = asyncio.get_running_loop()
    for other in _handled_signals():
        loop.remove_signal_handler(other)
        signal.signal(other, leave)  # a second signal ends the process at once
    watchdog = threading.Timer(LEAVE_SECONDS, leave, (number, None))
    watchdog.daemon = True
    watchdog.start()
    app.exit(return_code=128 + number)


def _leave_at_once(attributes: list[Any] | None, number: int, frame: FrameType | None) -> None:
    """End the process after restoring the terminal without Textual, whose own exit needs a running app."""
    with contextlib.suppress(OSError, ValueError, termios.error):
        os.write(sys.__stderr__.fileno() if sys.__stderr__ is not None else 2, RESTORE)
        if attributes is not None:
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, attributes)
    os._exit(128 + number)

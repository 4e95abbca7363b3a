"""The end of the TUI by a signal: SIGTERM and SIGHUP leave the terminal as it was before."""

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
"""Time that the app has to leave in order; a terminal that is gone can block its writer."""
RESTORE = b"\x1b[?1000l\x1b[?1003l\x1b[?1015l\x1b[?1006l\x1b[?2004l\x1b[?7h\x1b[<u\x1b[?1049l\x1b[?25h\x1b[?1004l"
"""Mouse and paste reporting off, line wrap on, keyboard protocol and alternate screen left, cursor shown."""
SIGNALS = (signal.SIGTERM, signal.SIGHUP)
Leave = Callable[[int, FrameType | None], None]


def end_at_once_on_signals() -> Leave:
    """Make SIGTERM and SIGHUP restore the terminal as it is now and end the process, for as long as no app runs."""
    attributes: list[Any] | None = None
    with contextlib.suppress(termios.error, OSError, ValueError):
        attributes = termios.tcgetattr(sys.stdin.fileno())
    leave = partial(_leave_at_once, attributes)
    for number in _heeded():
        signal.signal(number, leave)
    return leave


def end_on_signals(app: App[Any], leave: Leave) -> None:
    """Make SIGTERM and SIGHUP end the app in order with 128 + their number; `leave` follows if that takes too long."""
    loop = asyncio.get_running_loop()
    for number in _heeded():
        loop.add_signal_handler(number, _end, app, leave, number)


def _heeded() -> list[signal.Signals]:
    """Return the signals to handle: nohup ignores SIGHUP, which has to stay so."""
    return [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]


def _end(app: App[Any], leave: Leave, number: int) -> None:
    loop = asyncio.get_running_loop()
    for other in _heeded():
        loop.remove_signal_handler(other)
        signal.signal(other, leave)  # a second one ends at once
    watchdog = threading.Timer(LEAVE_SECONDS, leave, (number, None))
    watchdog.daemon = True
    watchdog.start()
    app.exit(return_code=128 + number)


def _leave_at_once(attributes: list[Any] | None, number: int, frame: FrameType | None) -> None:
    """End the process with the terminal restored by hand. Textual's own way out needs a running app."""
    with contextlib.suppress(OSError, ValueError, termios.error):
        os.write(sys.__stderr__.fileno() if sys.__stderr__ is not None else 2, RESTORE)
        if attributes is not None:
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, attributes)
    os._exit(128 + number)

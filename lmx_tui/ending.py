"""The end of the TUI by a signal: SIGTERM and SIGHUP leave the terminal as it was before."""

import asyncio
import contextlib
import os
import signal
import sys
import threading
from typing import Any

from textual.app import App

LEAVE_SECONDS = 2.0
"""Time that the app has to leave in order; a terminal that is gone can block its writer."""
RESTORE = b"\x1b[?1000l\x1b[?1003l\x1b[?1015l\x1b[?1006l\x1b[?2004l\x1b[?7h\x1b[<u\x1b[?1049l\x1b[?25h\x1b[?1004l"
"""Mouse and paste reporting off, line wrap on, keyboard protocol and alternate screen left, cursor shown."""
SIGNALS = (signal.SIGTERM, signal.SIGHUP)


def end_on_signals(app: App[Any]) -> None:
    """Make SIGTERM and SIGHUP end the app with 128 + their number, in order if it can, else at once."""
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores SIGHUP, which has to stay so
            loop.add_signal_handler(number, _end, app, number)


def _end(app: App[Any], number: int) -> None:
    loop = asyncio.get_running_loop()
    for other in SIGNALS:
        loop.remove_signal_handler(other)  # a second signal ends the process
    watchdog = threading.Timer(LEAVE_SECONDS, _leave_at_once, (number,))
    watchdog.daemon = True
    watchdog.start()
    app.exit(return_code=128 + number)


def _leave_at_once(number: int) -> None:
    with contextlib.suppress(OSError, ValueError):
        os.write(sys.__stderr__.fileno() if sys.__stderr__ is not None else 2, RESTORE)
    os._exit(128 + number)

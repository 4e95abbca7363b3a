"""The terminal's background colour, asked for with OSC 11 before the app starts.

A query of the terminal's type (DA1) follows the question. Nearly every terminal answers it, so that a terminal without
OSC 11 costs no waiting time, and no late answer is read as typed keys.
"""

import os
import re
import select
import termios
import time
import tty
from collections.abc import Mapping

from lmx_tui.terminal.clipboard import is_remote

QUESTION = b"\x1b]11;?\x1b\\\x1b[c"
TYPE = re.compile(rb"\x1b\[\?[0-9;]*c")
COLOR = re.compile(rb"\x1b\]11;rgba?:([0-9a-fA-F]{1,4})/([0-9a-fA-F]{1,4})/([0-9a-fA-F]{1,4})")
LOCAL_SECONDS = 0.2
REMOTE_SECONDS = 1.0
"""Limits on the wait for an answer; over SSH, one round trip of the network comes first."""
LIGHT = 0.5
"""Brightness above which a background is light."""


def has_dark_background(environment: Mapping[str, str]) -> bool | None:
    """Return whether the terminal's background is dark; None if the terminal does not answer."""
    if environment.get("TERM", "") in ("", "dumb"):
        return None
    seconds = REMOTE_SECONDS if is_remote(environment) else LOCAL_SECONDS
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return None
    try:
        return is_dark(ask(terminal, seconds))
    except (OSError, termios.error):
        return None
    finally:
        os.close(terminal)


def ask(terminal: int, seconds: float) -> bytes:
    """Return the terminal's answer to QUESTION, as far as it arrives in time. Raises OSError or termios.error."""
    attributes = termios.tcgetattr(terminal)
    answer, until = b"", time.monotonic() + seconds
    try:
        tty.setcbreak(terminal, termios.TCSANOW)
        os.write(terminal, QUESTION)
        while not TYPE.search(answer) and (left := until - time.monotonic()) > 0:
            if select.select([terminal], [], [], left)[0]:
                answer += os.read(terminal, 1024)
    finally:
        termios.tcsetattr(terminal, termios.TCSANOW, attributes)
    return answer


def is_dark(answer: bytes) -> bool | None:
    """Return whether the colour in an answer is dark; None without a colour."""
    found = COLOR.search(answer)
    if found is None:
        return None
    red, green, blue = (int(part, 16) / (16 ** len(part) - 1) for part in found.groups())
    return bool(0.299 * red + 0.587 * green + 0.114 * blue < LIGHT)

"""Copying text: pbcopy on a Mac at hand, tmux's own buffer inside tmux, otherwise the terminal's OSC 52.

Says which way it went. tmux drops OSC 52 of its programs as it is set up by default, its own command it obeys.
"""

import asyncio
import base64
import os
import shutil
import sys
from collections.abc import Callable, Mapping

PROGRAM_SECONDS = 3.0
UTF8_LOCALE = "en_US.UTF-8"
"""A locale that every Mac has."""


def is_remote(environment: Mapping[str, str]) -> bool:
    return bool(environment.get("SSH_CONNECTION") or environment.get("SSH_TTY"))


def osc52(text: str, environment: Mapping[str, str]) -> str:
    """The sequence that asks the terminal to take `text`; inside tmux it must travel in a passthrough."""
    sequence = f"\x1b]52;c;{base64.b64encode(text.encode(errors='replace')).decode()}\a"
    if environment.get("TMUX"):
        return "\x1bPtmux;" + sequence.replace("\x1b", "\x1b\x1b") + "\x1b\\"
    return sequence


def utf8(environment: Mapping[str, str]) -> dict[str, str]:
    """Return `environment` with a UTF-8 locale: pbcopy reads its input in that of the locale, and none is not UTF-8."""
    without = {name: value for name, value in environment.items() if name != "LC_ALL"}
    return without | {"LANG": UTF8_LOCALE, "LC_CTYPE": UTF8_LOCALE}


async def copy(text: str, write: Callable[[str], object], platform: str = sys.platform) -> str:
    """Copy `text` and return the route in words, for the toast. `write` sends to the terminal."""
    if platform == "darwin" and not is_remote(os.environ) and await _piped(text, "pbcopy"):
        return "copied with pbcopy"
    if os.environ.get("TMUX") and await _piped(text, "tmux", "load-buffer", "-w", "-"):
        return "copied to tmux and sent to its terminal"
    write(osc52(text, os.environ))
    return "sent to the terminal (OSC 52, tmux)" if os.environ.get("TMUX") else "sent to the terminal (OSC 52)"


async def _piped(text: str, *command: str) -> bool:
    """Return whether the program is there and took the text as UTF-8."""
    if not shutil.which(command[0]):
        return False
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=quiet, stderr=quiet, env=utf8(os.environ)
    )
    try:
        await asyncio.wait_for(process.communicate(text.encode(errors="replace")), PROGRAM_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
    return process.returncode == 0

"""Copying text to the clipboard: pbcopy on a local Mac, `tmux load-buffer` inside tmux, otherwise OSC 52.

In its default configuration, tmux drops the OSC 52 sequences of the programs inside it, but accepts its own command.
"""

import asyncio
import base64
import os
import shutil
import sys
from collections.abc import Callable, Mapping

PROGRAM_SECONDS = 3.0
UTF8_LOCALE = "en_US.UTF-8"
"""UTF-8 locale that exists on every Mac."""


def is_remote(environment: Mapping[str, str]) -> bool:
    return bool(environment.get("SSH_CONNECTION") or environment.get("SSH_TTY"))


def osc52(text: str, environment: Mapping[str, str]) -> str:
    """Return the sequence that makes the terminal copy `text`, wrapped in a passthrough inside tmux."""
    sequence = f"\x1b]52;c;{base64.b64encode(text.encode(errors='replace')).decode()}\a"
    if environment.get("TMUX"):
        return "\x1bPtmux;" + sequence.replace("\x1b", "\x1b\x1b") + "\x1b\\"
    return sequence


def utf8(environment: Mapping[str, str]) -> dict[str, str]:
    """Return `environment` with a UTF-8 locale: pbcopy decodes its input by the locale, and not as UTF-8 by default."""
    without = {name: value for name, value in environment.items() if name != "LC_ALL"}
    return without | {"LANG": UTF8_LOCALE, "LC_CTYPE": UTF8_LOCALE}


async def copy(text: str, write: Callable[[str], object], platform: str = sys.platform) -> str:
    """Copy `text`, and return the route in words for a toast. `write` sends a sequence to the terminal."""
    if platform == "darwin" and not is_remote(os.environ) and await _piped(text, "pbcopy"):
        return "copied with pbcopy"
    if os.environ.get("TMUX") and await _piped(text, "tmux", "load-buffer", "-w", "-"):
        return "copied to tmux and sent to its terminal"
    write(osc52(text, os.environ))
    return "sent to the terminal (OSC 52, tmux)" if os.environ.get("TMUX") else "sent to the terminal (OSC 52)"


async def _piped(text: str, *command: str) -> bool:
    """Return whether the program exists and exited with success after reading the text as UTF-8."""
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

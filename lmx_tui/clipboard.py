"""Copying text: pbcopy on a Mac at hand, otherwise the terminal's OSC 52, wrapped for tmux. Says which way it went."""

import asyncio
import base64
import os
import shutil
import sys
from collections.abc import Callable, Mapping

PBCOPY_SECONDS = 3.0


def is_remote(environment: Mapping[str, str]) -> bool:
    return bool(environment.get("SSH_CONNECTION") or environment.get("SSH_TTY"))


def osc52(text: str, environment: Mapping[str, str]) -> str:
    """The sequence that asks the terminal to take `text`; inside tmux it must travel in a passthrough."""
    sequence = f"\x1b]52;c;{base64.b64encode(text.encode()).decode()}\a"
    if environment.get("TMUX"):
        return "\x1bPtmux;" + sequence.replace("\x1b", "\x1b\x1b") + "\x1b\\"
    return sequence


async def copy(text: str, write: Callable[[str], object]) -> str:
    """Copies and returns the route in words, for the toast. `write` sends to the terminal."""
    if sys.platform == "darwin" and not is_remote(os.environ) and shutil.which("pbcopy"):
        process = await asyncio.create_subprocess_exec("pbcopy", stdin=asyncio.subprocess.PIPE)
        try:
            await asyncio.wait_for(process.communicate(text.encode()), PBCOPY_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()
        else:
            if process.returncode == 0:
                return "copied with pbcopy"
    write(osc52(text, os.environ))
    return "sent to the terminal (OSC 52, tmux)" if os.environ.get("TMUX") else "sent to the terminal (OSC 52)"

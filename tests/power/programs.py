"""Stand-ins for caffeinate and systemd-inhibit."""

import sys
from pathlib import Path

from lmx_daemon.power.inhibitor import COMMANDS

HOLDS = """#!/bin/sh
echo $$ "$@" >> "{calls}"
for utility do :; done
"$utility"
echo released >> "{calls}"
"""
"""Script that runs its last argument. It records its process id, its arguments and the end of that utility."""


def put_program(folder: Path, script: str) -> tuple[Path, Path]:
    """Write the script under the name of the system's program; return its folder, and the file that it writes."""
    programs, calls = folder / "bin", folder / "calls"
    programs.mkdir()
    file = programs / COMMANDS[sys.platform][0]
    file.write_text(script.format(calls=calls))
    file.chmod(0o755)
    return programs, calls


def lines_of(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []

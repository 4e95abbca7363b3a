"""`lmx config edit`: a copy of config.toml in an editor, checked before it replaces the file."""

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from lmx_cli.output import Output
from lmx_daemon.contract.errors import ConfigError, RequestError
from lmx_daemon.settings.config_file import content_of, parse_config
from lmx_daemon.settings.paths import Home
from lmx_daemon.settings.writing.config_writer import replace_config
from lmx_daemon.settings.writing.template import template

DEFAULT_EDITOR = "vi"


def edit_config(output: Output) -> bool:
    """Run the editor until the copy has no fault, and return whether the file was changed.

    Raises ConfigError, RequestError.
    """
    home = Home.from_environment()
    home.make()
    old = content_of(home.config)
    with tempfile.TemporaryDirectory(prefix="lmx-") as folder:
        copy = Path(folder) / "config.toml"
        copy.write_bytes(old or template().encode())
        before = copy.read_bytes()
        while True:
            _run_editor(copy)
            new = copy.read_bytes()
            if new == before:
                output.note("nothing was changed")
                return False
            try:
                parse_config(new, copy)
                break
            except ConfigError as error:
                output.error(error)
                if not (sys.stdin.isatty() and output.confirm("edit again?", yes=False)):
                    raise RequestError(f"{home.config} was not changed", hint="correct the fault above") from None
    replace_config(home, old, new)
    output.text(f"changed {home.config}")
    return True


def _run_editor(file: Path) -> None:
    command = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or DEFAULT_EDITOR)
    try:
        code = subprocess.run([*command, str(file)], check=False).returncode
    except OSError as error:
        raise RequestError(f"cannot start {command[0]}: {error.strerror}", hint="set EDITOR to your editor") from None
    if code:
        raise RequestError(
            f"{command[0]} ended with {code}; nothing was changed",
            hint="set EDITOR to another editor, or use: lmx config set",
        )

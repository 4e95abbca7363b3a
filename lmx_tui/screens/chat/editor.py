"""A text in the user's editor: a file in a folder of its own, which only the user can read."""

import shlex
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from lmx_daemon.contract.errors import LmxError

HINT = "set $VISUAL or $EDITOR; the text stays in the prompt"


def edited_text(text: str, environ: Mapping[str, str], suspended: Callable[[], AbstractContextManager[None]]) -> str:
    """Return a text as the user has left it in $VISUAL, $EDITOR or vi, which runs inside `suspended()`.

    The file is read again by its name, since some editors replace it. Raise LmxError if the editor fails.
    """
    command = environ.get("VISUAL") or environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory(prefix="lmx-", ignore_cleanup_errors=True) as folder:
        file = Path(folder) / "message.md"
        try:
            file.write_text(text, encoding="utf-8", errors="replace")
            words = shlex.split(command)
            with suspended():
                subprocess.run([*words, str(file)], check=True)
            return file.read_text(encoding="utf-8", errors="replace").rstrip("\n")
        except subprocess.CalledProcessError as error:
            raise LmxError(f"{command} ended with status {error.returncode}", hint=HINT) from None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise LmxError(f"{command} cannot be used: {reason}", hint=HINT) from None

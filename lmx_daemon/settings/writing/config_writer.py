"""Writing of config.toml: one writer at a time, atomic, durable, with the last content kept as config.toml.bak."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lmx_daemon.contract.errors import ConfigError
from lmx_daemon.settings.config_file import content_of, parse_config, read_config
from lmx_daemon.settings.paths import Home
from lmx_daemon.storage.durable import SUFFIX, open_owned, write_file
from lmx_daemon.storage.failed_write import remedy

NEW_FILE = "# Settings of lmx. `lmx config list` shows all keys, docs/config.md describes them.\n"


def change_config(home: Home, edit: Callable[[str], str]) -> None:
    """Replace the text of the file by what `edit` returns for it; on the disk when this returns.

    Raises ConfigError, also for a text with faults before or after the edit; then the file is unchanged.
    """
    with _writing(home) as file:
        old = read_config(file).text
        _write(home, file, old.encode(), edit(old or NEW_FILE).encode())


def replace_config(home: Home, old: bytes, new: bytes) -> None:
    """Replace the content of the file, if it is still `old`. Raises ConfigError; then the file is unchanged."""
    with _writing(home) as file:
        if content_of(file) != old:
            raise ConfigError(f"{file} was changed by another program meanwhile", hint="edit it again")
        _write(home, file, old, new)


@contextmanager
def _writing(home: Home) -> Iterator[Path]:
    """Hold the lock of writers, and yield the file itself, behind a link of a dotfile manager. Raises ConfigError."""
    home.make()
    try:
        with open_owned(home.config_lock, "ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            file = Path(os.path.realpath(home.config))
            if file.exists() and file.stat().st_uid != os.geteuid():
                raise ConfigError(f"{file} belongs to another user", hint="ask the administrator to change it")
            for left in file.parent.glob(f".{file.name}.*{SUFFIX}"):  # of a writer that was killed
                left.unlink(missing_ok=True)
            yield file
    except OSError as error:
        raise ConfigError(
            f"cannot write {home.config}: {error.strerror or error}", hint=remedy(home.config, error)
        ) from error


def _write(home: Home, file: Path, old: bytes, new: bytes) -> None:
    """Write a content without faults, and keep the old one. Raises ConfigError, OSError."""
    parse_config(new, file)
    if new == old:
        return
    mode = file.stat().st_mode & 0o777 if file.exists() else 0o600
    if old:
        write_file(home.config_backup, old, 0o600)
    write_file(file, new, mode)

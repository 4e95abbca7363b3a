"""The files of an agent's configuration: the change that a launch makes, the backup, and the way back.

The backup has the content from before the first change; later launches keep it. It is empty if there was no file.
"""

import difflib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from lmx_cli.launch.merge import merged
from lmx_cli.launch.target import ConfigFile
from lmx_daemon.contract.errors import ConfigError
from lmx_daemon.storage.durable import read_regular, write_file
from lmx_daemon.storage.failed_write import remedy

BACKUP, REPLACED = ".lmx-backup", ".lmx-replaced"
"""Suffixes of the content before the first launch, and of the content that a restore has replaced."""
MAX_BYTES = 4 * 1024 * 1024
NEW_MODE = 0o600


@dataclass(frozen=True)
class FileChange:
    """A file before and after a launch. `before` is None if there is no file."""

    path: Path
    before: str | None
    after: str

    @property
    def differs(self) -> bool:
        return self.before != self.after

    def diff(self) -> str:
        """Return the change as a unified diff, "" if there is none."""
        old, new = ((text or "").splitlines(keepends=True) for text in (self.before, self.after))
        lines = difflib.unified_diff(old, new, "/dev/null" if self.before is None else str(self.path), str(self.path))
        return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def change_of(file: ConfigFile) -> FileChange:
    """Return the change of a file, which is not written. Raises ConfigError if it cannot be read or merged."""
    before = _read(file.path)
    return FileChange(file.path, before, merged(file.form, before or "", file.values, str(file.path)))


def write_change(change: FileChange) -> None:
    """Write a change atomically, after a backup. A link stays, and its file is written. Raises ConfigError."""
    try:
        target = change.path.resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        mode = _mode(target)
        backup = _beside(target, BACKUP)
        if not backup.exists():
            write_file(backup, (change.before or "").encode(), mode)
        write_file(target, change.after.encode(), mode)
        os.chmod(target, mode)  # the umask may have removed bits of it
    except OSError as error:
        raise ConfigError(
            f"cannot write {change.path}: {error.strerror or error}", hint=remedy(change.path, error)
        ) from error


def restore(path: Path) -> str | None:
    """Bring the backup of a file back and return what was done, or None if there is no backup. Raises ConfigError.

    The replaced content is kept, since it may have later changes of the user.
    """
    try:
        target = path.resolve()
        backup = _beside(target, BACKUP)
        if not backup.exists():
            return None
        content = read_regular(backup, MAX_BYTES)
        if target.exists():
            write_file(_beside(target, REPLACED), read_regular(target, MAX_BYTES), _mode(target))
        if content:
            mode = _mode(backup)
            write_file(target, content, mode)
            os.chmod(target, mode)
        else:
            target.unlink(missing_ok=True)
        backup.unlink()
    except OSError as error:
        raise ConfigError(f"cannot restore {path}: {error.strerror or error}", hint=remedy(path, error)) from error
    return "restored" if content else "removed, since there was none before"


def _read(path: Path) -> str | None:
    try:
        return read_regular(path, MAX_BYTES, follow=True).decode()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror or error
        raise ConfigError(f"cannot read {path}: {reason}", hint="correct the file, or move it away") from error


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode) if path.exists() else NEW_MODE


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)

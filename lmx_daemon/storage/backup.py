"""Folders that a Mac leaves out of Time Machine's backups and Spotlight's index: what lmx can make again.

`set_attribute` is the seam: Python has no call for extended attributes on macOS.
"""

import ctypes
import os
import plistlib
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

NEVER_INDEX = ".metadata_never_index"
"""An empty file of this name keeps Spotlight out of its folder."""
EXCLUDED = "com.apple.metadata:com_apple_backup_excludeItem"
EXCLUDED_BY = plistlib.dumps("com.apple.backupd", fmt=plistlib.FMT_BINARY)
"""The value that `tmutil addexclusion` sets; it stays with the folder when that is moved."""
SetAttribute = Callable[[Path, str, bytes], None]


def set_attribute(path: Path, name: str, value: bytes) -> None:
    """Set an extended attribute with macOS's setxattr. Raises OSError."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.setxattr(os.fsencode(path), name.encode(), value, len(value), 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(path))


def exclude(folder: Path, set_attribute: SetAttribute = set_attribute, system: str = sys.platform) -> None:
    """Create the folder for its owner only and, on macOS, exclude it. A disk that refuses is no error."""
    with suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if system == "darwin":
            (folder / NEVER_INDEX).touch(mode=0o600)
            set_attribute(folder, EXCLUDED, EXCLUDED_BY)

"""Exclusion of folders from the backups of Time Machine and the index of Spotlight on macOS.

It is for data that lmx can create again. `set_attribute` is replaced in tests; Python has no call for extended
attributes on macOS.
"""

import ctypes
import os
import plistlib
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

NEVER_INDEX = ".metadata_never_index"
"""Name of an empty file that excludes its folder from Spotlight."""
EXCLUDED = "com.apple.metadata:com_apple_backup_excludeItem"
EXCLUDED_BY = plistlib.dumps("com.apple.backupd", fmt=plistlib.FMT_BINARY)
"""Value that `tmutil addexclusion` sets. It stays with the folder when the folder is moved."""
SetAttribute = Callable[[Path, str, bytes], None]


def set_attribute(path: Path, name: str, value: bytes) -> None:
    """Set an extended attribute with macOS's setxattr. Raises OSError."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.setxattr(os.fsencode(path), name.encode(), value, len(value), 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(path))


def exclude(folder: Path, set_attribute: SetAttribute = set_attribute, system: str = sys.platform) -> None:
    """Create the folder for its owner only and, on macOS, exclude it. Errors of the disk are ignored."""
    with suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if system == "darwin":
            (folder / NEVER_INDEX).touch(mode=0o600)
            set_attribute(folder, EXCLUDED, EXCLUDED_BY)

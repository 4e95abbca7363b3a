"""The folders of the trash: which of them are entries, and which hold nothing but files of lmx. It only reads."""

import os
import re
from collections.abc import Collection
from pathlib import Path

from lmx_daemon.storage.durable import SUFFIX

KEY = re.compile(r"[0-9a-f]{12}", re.ASCII)
"""Name of an entry."""


def entry_folders(place: Path) -> list[Path]:
    """Return the folders of entries in `place`. A link is not an entry, and neither is a folder of another name."""
    try:
        with os.scandir(place) as found:
            return [
                Path(entry.path) for entry in found if KEY.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
            ]
    except OSError:
        return []


def holds_only(folder: Path, names: Collection[str]) -> bool:
    """Return whether the folder holds nothing but `names`, unreadable versions of them, and temporary files of lmx."""
    try:
        found = os.listdir(folder)
    except OSError:
        return False
    return all(_kept_name(name) in names or (name.startswith(".") and name.endswith(SUFFIX)) for name in found)


def _kept_name(name: str) -> str:
    """Return the former name of a file that was kept because it could not be read."""
    return name.partition(".unreadable-")[0]

"""The deletion of entries of the trash.

An entry is renamed first, so that no restoration finds an entry of which a part is gone, neither at the same time nor
after a kill.
"""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from lmx_daemon.library.trash.trash_folders import KEY

GONE = ".gone"
"""Suffix of an entry that is being deleted."""


def delete_entry(folder: Path) -> None:
    """Delete an entry. What cannot be deleted now is left to `sweep_gone`."""
    gone = folder.with_name(folder.name + GONE)
    try:
        os.rename(folder, gone)
    except FileNotFoundError:  # it was restored or deleted meanwhile
        return
    except OSError:  # the deletion counts, since it may be needed to make the disk writable again
        gone = folder
    shutil.rmtree(gone, ignore_errors=True)


def sweep_gone(place: Path) -> None:
    """Finish the deletions that a kill or an error left in `place`."""
    with suppress(OSError), os.scandir(place) as found:
        for entry in found:
            begun = entry.name.endswith(GONE) and KEY.fullmatch(entry.name.removesuffix(GONE))
            if begun and entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)

"""The daemon on a disk that does not answer: while the file `hang` exists, a look into the folder `stuck` waits."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from lmx_daemon.library.catalog import catalog, roots
from lmx_daemon.library.catalog.roots import ModelFolder, ModelRoot
from lmx_daemon.main import main

real_look = roots.model_folders


def look(root: ModelRoot) -> Iterator[ModelFolder]:
    """Wait in the kernel as a hung mount lets a process wait: at a FIFO that nobody writes to."""
    home = Path(os.environ["LMX_HOME"])
    if root.path.name == "stuck" and (home / "hang").exists():
        os.open(home / "hang", os.O_RDONLY)
    return real_look(root)


if __name__ == "__main__":
    catalog.model_folders = look
    sys.exit(main(sys.argv[1:]))

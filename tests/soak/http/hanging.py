"""A daemon with a disk that does not answer: while the file `hang` exists, listing the folder `stuck` blocks."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from lmx_daemon.library.catalog import catalog, roots
from lmx_daemon.library.catalog.roots import ModelFolder, ModelRoot
from lmx_daemon.main import main

real_model_folders = roots.model_folders


def model_folders(root: ModelRoot) -> Iterator[ModelFolder]:
    """List the models of `root`. A FIFO without a writer blocks the thread in the kernel, as a hung mount does."""
    home = Path(os.environ["LMX_HOME"])
    if root.path.name == "stuck" and (home / "hang").exists():
        os.open(home / "hang", os.O_RDONLY)
    return real_model_folders(root)


if __name__ == "__main__":
    catalog.model_folders = model_folders
    sys.exit(main(sys.argv[1:]))

"""`lmx import`: a new folder under $LMX_HOME/models with links to the files of a model, or copies of them.

The folder appears when it is complete; the original files are not changed. A single weight file of another name is
named model.safetensors in the folder, because mlx-lm loads that name.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from lmx_daemon.contract.admin.library.files import ImportRequest
from lmx_daemon.contract.errors import ConflictError, RequestError, UntrustedModelError
from lmx_daemon.library.catalog.roots import NAME
from lmx_daemon.library.disk.links import linked_part, refuse_link
from lmx_daemon.library.verify.code_files import is_code
from lmx_daemon.storage.durable import sync_file, sync_folder
from lmx_daemon.storage.foreign.reading import read_object
from lmx_daemon.storage.foreign.safetensors import read_header

WEIGHTS = "model.safetensors"
SUFFIXES = (".json", ".jinja", ".txt", ".model", ".tiktoken", ".jsonl", ".md")
MAX_FILES = 2_000
WANTED = "name the folder of a model, with config.json and safetensors files"
UNFINISHED = ".lmx"
"""Suffix of a folder that an import is filling."""


def plan(path: Path) -> dict[str, Path]:
    """Return the files to import by their new names.

    Raises RequestError or UntrustedModelError when `path` holds no model.
    """
    if path.is_file() and path.suffix == ".safetensors":
        folder, weights = path.parent, [path]
    elif path.is_dir():
        folder, weights = path, sorted(path.glob("*.safetensors"))
    elif not path.exists():
        raise RequestError(f"{path} does not exist", hint=WANTED, param="path")
    elif path.suffix == ".gguf":
        raise RequestError(
            f"{path} is a GGUF file; lmx runs MLX's safetensors",
            hint="pull an MLX version: lmx search shows them",
            param="path",
        )
    else:
        raise RequestError(f"{path} is neither a folder nor a safetensors file", hint=WANTED, param="path")
    if not weights:
        gguf = any(folder.glob("*.gguf"))
        raise RequestError(
            f"{path} holds no safetensors weights" + (", only GGUF" if gguf else ""),
            param="path",
            hint="pull an MLX version: lmx search shows them",
        )
    if read_object(folder / "config.json") is None:
        raise RequestError(f"{folder} has no config.json, which describes the weights", hint=WANTED, param="path")
    for file in weights:
        if read_header(file) is None:
            raise UntrustedModelError(
                f"{file.name} is not a valid safetensors file", hint="it is damaged, or has another format"
            )
    files = {file.name: file for file in _others(folder)}
    if len(weights) == 1 and not weights[0].name.startswith("model"):
        files.pop("model.safetensors.index.json", None)
        return files | {WEIGHTS: weights[0]}
    return files | {file.name: file for file in weights}


def destination(request: ImportRequest, root: Path) -> tuple[str, Path]:
    """Return the id and the new folder. `root` is the folder of imported models in lmx's home.

    Raises RequestError, ConflictError when the id is taken, or DiskError when the folder would be behind a link.
    """
    path = Path(os.path.expanduser(request.path))
    identity = request.id or _default_id(path)
    owner, _, name = identity.partition("/")
    if not (NAME.fullmatch(owner) and NAME.fullmatch(name)) or identity == "lmx/guide":
        raise RequestError(f"{identity!r} is not a valid model id", param="id", hint="give one: --as owner/name")
    folder = root / owner / name
    refuse_link(root.parent, folder.parent)
    if folder.exists():
        raise ConflictError(f"{identity} is already imported", hint=f"lmx rm {identity}, or give another --as")
    return identity, folder


def import_files(files: dict[str, Path], folder: Path, copy: bool, on_bytes: Callable[[int], None]) -> None:
    """Link or copy the files into a new folder, which appears when it is complete. Blocking. Raises OSError."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=".", suffix=UNFINISHED, dir=folder.parent))  # unique for each import
    try:
        for name, source in files.items():
            if copy:
                shutil.copyfile(source, unfinished / name)
                _sync(unfinished / name)
                on_bytes(source.stat().st_size)
            else:
                (unfinished / name).symlink_to(source.resolve())
        sync_folder(unfinished)
        os.rename(unfinished, folder)
        sync_folder(folder.parent)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def sweep(root: Path) -> None:
    """Remove the unfinished folders of killed imports. Call it at start-up, before the first import.

    If `root` or an owner's folder is a link, nothing behind it is removed, because those files do not belong to lmx.
    """
    for unfinished in root.glob(f"*/.*{UNFINISHED}"):
        if linked_part(root.parent, unfinished.parent) is None:
            shutil.rmtree(unfinished, ignore_errors=True)


def _others(folder: Path) -> list[Path]:
    """Return the files to import besides the weights. Code and pickles are included so that they are detected later."""
    visible = [file for file in sorted(folder.iterdir()) if file.is_file() and not file.name.startswith(".")]
    files = [file for file in visible if file.name.endswith(SUFFIXES) or is_code(file.name)]
    if len(files) > MAX_FILES:
        raise RequestError(f"{folder} holds {len(files)} files; a model has fewer", param="path")
    return files


def _default_id(path: Path) -> str:
    """Return `owner/name`, made from the last two parts of the path."""
    whole = path.absolute()
    stem = whole.stem if whole.suffix == ".safetensors" else whole.name
    if stem in ("model", "weights"):
        whole, stem = whole.parent, whole.parent.name
    owner, name = (re.sub(r"[^\w.+-]+", "-", part).strip("-.") for part in (whole.parent.name, stem))
    return f"{owner or 'local'}/{name or 'model'}"


def _sync(file: Path) -> None:
    with file.open("rb") as written:
        sync_file(written.fileno())

"""`lmx import`: a model from any folder or single file gets a place under $LMX_HOME/models, as links or as copies.

It appears there when it is whole; nothing outside is changed. Weights in one file of another name are called
model.safetensors here, which is what mlx-lm reads.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from lmx_daemon.contract.errors import ConflictError, RequestError, UntrustedModelError
from lmx_daemon.contract.library import ImportRequest
from lmx_daemon.library.catalog.describe import CODE_SUFFIXES, PICKLE_SUFFIXES
from lmx_daemon.library.catalog.header import read_header
from lmx_daemon.library.catalog.roots import NAME
from lmx_daemon.storage.durable import sync_file, sync_folder
from lmx_daemon.storage.reading import read_object

WEIGHTS = "model.safetensors"
KEPT = (".json", ".jinja", ".txt", ".model", ".tiktoken", ".jsonl", ".md")
MAX_FILES = 2_000
UNFINISHED = ".lmx"


def plan(path: Path) -> dict[str, Path]:
    """Names here, and the files they stand for. Raises RequestError or UntrustedModelError where there is no model."""
    if path.is_file() and path.suffix == ".safetensors":
        folder, weights = path.parent, [path]
    elif path.is_dir():
        folder, weights = path, sorted(path.glob("*.safetensors"))
    elif path.suffix == ".gguf" or not path.exists():
        what = "a GGUF file; lmx runs MLX's safetensors" if path.exists() else "not there"
        raise RequestError(f"{path} is {what}", param="path")
    else:
        raise RequestError(f"{path} is neither a folder nor a safetensors file", param="path")
    if not weights:
        gguf = any(folder.glob("*.gguf"))
        raise RequestError(
            f"{path} holds no safetensors weights" + (", only GGUF" if gguf else ""),
            param="path",
            hint="pull an MLX version: lmx search shows them",
        )
    if read_object(folder / "config.json") is None:
        raise RequestError(f"{folder} has no config.json, which says what the weights are", param="path")
    for file in weights:
        if read_header(file) is None:
            raise UntrustedModelError(f"{file.name} is no safetensors file", hint="it is broken, or is something else")
    files = {file.name: file for file in _others(folder)}
    if len(weights) == 1 and not weights[0].name.startswith("model"):
        files.pop("model.safetensors.index.json", None)
        return files | {WEIGHTS: weights[0]}
    return files | {file.name: file for file in weights}


def place(request: ImportRequest, root: Path) -> tuple[str, Path]:
    """The id and the folder here. Raises RequestError, or ConflictError where it is taken."""
    path = Path(os.path.expanduser(request.path))
    identity = request.id or _named(path)
    owner, _, name = identity.partition("/")
    if not (NAME.fullmatch(owner) and NAME.fullmatch(name)) or identity == "lmx/guide":
        raise RequestError(f"{identity!r} is not a model's id", param="id", hint="give one: --as owner/name")
    folder = root / owner / name
    if folder.exists():
        raise ConflictError(f"{identity} has been imported already", hint=f"lmx rm {identity}, or give another --as")
    return identity, folder


def bring(files: dict[str, Path], folder: Path, copy: bool, on_bytes: Callable[[int], None]) -> None:
    """Links or copies the files into a new folder, which appears whole. Blocking. Raises OSError."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=".", suffix=UNFINISHED, dir=folder.parent))  # two imports never share one
    try:
        for name, source in files.items():
            if copy:
                shutil.copyfile(source, making / name)
                _sync(making / name)
                on_bytes(source.stat().st_size)
            else:
                (making / name).symlink_to(source.resolve())
        sync_folder(making)
        os.rename(making, folder)
        sync_folder(folder.parent)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise


def sweep(root: Path) -> None:
    """Removes what an import that was killed had brought; for the start, when none is under way."""
    for making in root.glob(f"*/.*{UNFINISHED}"):
        shutil.rmtree(making, ignore_errors=True)


def _others(folder: Path) -> list[Path]:
    """What a model needs besides its weights; code and pickles too, so that they are found, never run unasked."""
    suffixes = (*KEPT, *CODE_SUFFIXES, *PICKLE_SUFFIXES)
    files = [f for f in sorted(folder.iterdir()) if f.is_file() and f.name.endswith(suffixes) and f.name[0] != "."]
    if len(files) > MAX_FILES:
        raise RequestError(f"{folder} holds {len(files)} files; a model has fewer", param="path")
    return files


def _named(path: Path) -> str:
    """owner/name, from the last two parts of the path."""
    whole = path.absolute()
    stem = whole.stem if whole.suffix == ".safetensors" else whole.name
    if stem in ("model", "weights"):
        whole, stem = whole.parent, whole.parent.name
    owner, name = (re.sub(r"[^\w.+-]+", "-", part).strip("-.") for part in (whole.parent.name, stem))
    return f"{owner or 'local'}/{name or 'model'}"


def _sync(file: Path) -> None:
    with file.open("rb") as written:
        sync_file(written.fileno())

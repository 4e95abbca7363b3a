"""Files that a user attaches to a message: pasted paths, and contents with their types."""

import os
import shlex
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lmx_daemon.client.image_files import image_type
from lmx_daemon.contract.admin.chats import MAX_ATTACHMENT, Attachment
from lmx_daemon.contract.errors import RequestError
from lmx_daemon.contract.units import size
from lmx_daemon.storage.durable import read_regular

MAX_TEXT_BYTES = 2 * 1024 * 1024
"""Largest text file in bytes. The whole file becomes part of the prompt."""
MAX_PATH = 1024
PROBED = 8192
"""Number of bytes at the beginning of a file that show whether it is text."""
LEFT_OUT = frozenset({"node_modules", "__pycache__", "venv", "dist", "build", "target"})
"""Folders whose files are not offered."""


def named_file(text: str) -> Path | None:
    """Return the file whose path was pasted, in the forms of terminals and file managers; None for other text."""
    text = text.strip()
    if not text or len(text) > MAX_PATH or "\n" in text:
        return None
    if text.startswith("file://"):
        text = unquote(urlsplit(text).path)
    elif text[0] in "'\"" or "\\ " in text:
        try:
            words = shlex.split(text)
        except ValueError:
            return None
        text = words[0] if len(words) == 1 else ""
    if not text.startswith(("/", "~/", "./", "../")):
        return None
    path = Path(text).expanduser()
    try:
        return path if path.is_file() else None
    except (OSError, ValueError):
        return None


def read_attachment(file: Path) -> Attachment:
    """Return a file as an attachment. Raise RequestError for another kind of file or one that is too large."""
    try:
        data = read_regular(file, MAX_ATTACHMENT, follow=True)
    except OSError as error:
        raise RequestError(f"{file} cannot be attached: {error.strerror or error}") from error
    kind = image_type(data)
    if kind is None and b"\0" in data[:PROBED]:
        raise RequestError(f"{file.name} is neither a text nor an image", hint="PNG, JPEG, GIF and WebP are images")
    if kind is None and len(data) > MAX_TEXT_BYTES:
        raise RequestError(f"{file.name} has {size(len(data))}", hint=f"a text file has at most {size(MAX_TEXT_BYTES)}")
    return Attachment(name=file.name[:255], media_type=kind or "text/plain", data=data, size=len(data))


def files_below(folder: Path, most: int = 5000) -> list[str]:
    """Return the paths of files below a folder, relative to it. Hidden folders and those of packages are left out."""
    found: list[str] = []
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in LEFT_OUT)
        found += [os.path.relpath(os.path.join(root, name), folder) for name in sorted(files) if name[0] != "."]
        if len(found) >= most:
            break
    return found[:most]

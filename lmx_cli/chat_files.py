"""Files of chats that `lmx chats import` reads: those of LM Studio, and exports of lmx."""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from lmx_daemon.client.lmstudio_chats import SUFFIX, chat_of
from lmx_daemon.contract.admin.chat_import import ImportedChat
from lmx_daemon.contract.errors import LmxError, NotFoundError
from lmx_daemon.storage.durable import read_regular

FOLDERS = ("~/.lmstudio/conversations", "~/.cache/lm-studio/conversations")
"""Folders in which LM Studio keeps its chats."""
MAX_FILE = 256 * 1024 * 1024
MAX_FILES = 10_000
STDIN = "-"


def chats_in(paths: Sequence[Path]) -> tuple[list[ImportedChat], list[LmxError]]:
    """Return the chats of files and folders, and the errors of those that cannot be read.

    Without `paths`, the folders of LM Studio are read. Raises NotFoundError if there is no file, and the error of a
    single file.
    """
    files = list(_files(paths or [Path(folder).expanduser() for folder in FOLDERS]))
    if not files:
        where = ", ".join(map(str, paths)) or FOLDERS[0]
        raise NotFoundError(f"there are no chats in {where}", hint=f"LM Studio's are files named *{SUFFIX}")
    chats: list[ImportedChat] = []
    faults: list[LmxError] = []
    for file, folder in files:
        try:
            chats.append(_read(file, folder))
        except LmxError as error:
            if len(files) == 1:
                raise
            faults.append(error)
    return chats, faults


def _files(paths: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Yield each file with the name of its folder below the given one. Links to folders are not followed."""
    for path in paths:
        if not path.is_dir():
            if path.exists() or str(path) == STDIN or not path.is_relative_to(Path("~").expanduser()):
                yield path, ""
            continue
        count = 0
        for root, folders, names in os.walk(path):
            folders.sort()
            for name in sorted(names):
                if name.endswith(SUFFIX) and (count := count + 1) <= MAX_FILES:
                    below = os.path.relpath(root, path)
                    yield Path(root, name), "" if below == "." else below


def _read(file: Path, folder: str) -> ImportedChat:
    """Return the chat of a file. Raises LmxError."""
    try:
        content = sys.stdin.buffer.read(MAX_FILE) if str(file) == STDIN else read_regular(file, MAX_FILE, follow=True)
    except OSError as error:
        raise NotFoundError(
            f"{file} cannot be read: {error.strerror or error}", hint="name a file or folder that you can read"
        ) from error
    try:
        if file.name.endswith(SUFFIX):
            return chat_of(content, file.name, folder)
        return msgspec.json.decode(content, type=ImportedChat)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise LmxError(
            f"{file} is not a chat: {error}",
            hint=f"`lmx chats export --json` writes such a file; LM Studio's are named *{SUFFIX}",
        ) from error

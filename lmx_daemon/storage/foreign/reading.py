"""Bounded reads of files that other programs wrote: regular files only, and JSON up to a limit.

Decoding holds the interpreter lock and may need sixty times the size of the file in memory. Above IN_PROCESS_BYTES it
runs in a child process with limits on time and memory. All functions block and are meant for threads.
"""

import errno
import json
import os
import stat
import struct
import subprocess
import sys
import time
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, Literal

import psutil

from lmx_daemon.storage.foreign import json_views
from lmx_daemon.storage.foreign.json_views import MEMORY_BYTES, tensors

JsonView = Literal["whole", "names", "tensors"]
IN_PROCESS_BYTES = 1024 * 1024
MAX_CONFIG_BYTES = 4 * 1024 * 1024
MAX_INDEX_BYTES = 64 * 1024 * 1024
MAX_HEADER_BYTES = 8 * 1024 * 1024
CHILD_SECONDS = 20.0
POLL_SECONDS = 0.05
LENGTH = struct.Struct("<Q")


def open_model_file(file: Path) -> BufferedReader:
    """Open a regular file; links are followed. Raises OSError for anything else, since a FIFO may block for ever."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(file))
    return open(descriptor, "rb")


def read_model_file(file: Path, limit: int) -> bytes | None:
    """Return the bytes of a regular file; None if it has more than `limit`. Raises OSError."""
    with open_model_file(file) as opened:
        data = opened.read(limit + 1)
    return data if len(data) <= limit else None


def read_object(file: Path, limit: int = MAX_CONFIG_BYTES, view: JsonView = "whole") -> dict[str, Any] | None:
    """Return a JSON object, or None for anything else: missing, irregular, above `limit`, not JSON, not an object."""
    try:
        with open_model_file(file) as opened:
            size = os.fstat(opened.fileno()).st_size
            return _decoded(opened, size, view) if size <= limit else None
    except OSError:
        return None


def read_index(file: Path) -> dict[str, Any] | None:
    """Return a model.safetensors.index.json; of a large one the distinct names of its files only."""
    return read_object(file, MAX_INDEX_BYTES, "names")


def read_tensors(file: Path) -> dict[str, Any] | None:
    """Return types, shapes and offsets from the header of a safetensors file.

    Returns None for a file without a header, or with one above MAX_HEADER_BYTES.
    """
    try:
        with open_model_file(file) as opened:
            (length,) = LENGTH.unpack(os.read(opened.fileno(), LENGTH.size))
            whole = length <= min(MAX_HEADER_BYTES, os.fstat(opened.fileno()).st_size - LENGTH.size)
            return _decoded(opened, length, "tensors") if whole else None
    except (OSError, struct.error):
        return None


def _decoded(opened: IO[bytes], size: int, view: JsonView) -> dict[str, Any] | None:
    """Return the view of the JSON in the next `size` bytes. Raises OSError."""
    try:
        if size > IN_PROCESS_BYTES:
            value = _in_child(opened, size, view)
        else:
            value = json.loads(opened.read(size))
            value = tensors(value) if view == "tensors" else value
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _in_child(opened: IO[bytes], size: int, view: JsonView) -> Any:
    """Return the view that json_views.py computes, or None if it exceeds a limit. Raises ValueError."""
    command = [sys.executable, "-I", "-S", str(Path(json_views.__file__)), view, str(size)]
    with subprocess.Popen(command, stdin=opened, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        deadline = time.monotonic() + CHILD_SECONDS
        while True:
            try:
                output, _ = child.communicate(timeout=POLL_SECONDS)
                return json.loads(output or b"null")
            except subprocess.TimeoutExpired:
                if time.monotonic() > deadline or footprint(child.pid) > MEMORY_BYTES:
                    child.kill()


def footprint(pid: int) -> int:
    """Return the resident bytes of a process; 0 when it is gone."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0

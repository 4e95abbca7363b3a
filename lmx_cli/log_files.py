"""The lines of the daemon's log files: read in order, filtered, and followed. It needs no daemon."""

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import msgspec

from lmx_daemon.contract.admin.snapshot import LogLine
from lmx_daemon.contract.errors import UsageError
from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.storage.durable import open_owned

LEVELS = ("debug", "info", "warning", "error", "critical")
POLL_SECONDS = 0.25
DECODER = msgspec.json.Decoder(LogLine)
Keep = Callable[[LogLine], bool]


class LogFilter(Frozen, frozen=True):
    """Conditions that a shown line fulfils; "" sets no condition."""

    level: str = ""
    """Lowest level."""
    grep: str = ""
    """Regular expression that the message contains, whatever the case of its letters."""
    model: str = ""
    request: str = ""
    """Beginning of the id of the line's request."""

    def keep(self) -> Keep:
        """Return the function that decides about a line. Raises UsageError."""
        lowest = LEVELS.index(self.level) if self.level else 0
        try:
            pattern = re.compile(self.grep, re.IGNORECASE)
        except re.error as error:
            raise UsageError(
                f"--grep: {self.grep!r} is not a regular expression: {error}",
                hint="put a backslash before a sign that is meant as it is",
                param="--grep",
            ) from None
        models = {f"worker {self.model}", self.model}

        def kept(line: LogLine) -> bool:
            return (
                (line.level not in LEVELS or LEVELS.index(line.level) >= lowest)
                and (
                    not self.model
                    or line.source in models
                    or self.model in (line.data.get("model"), line.data.get("asked"))
                )
                and (line.request or "").startswith(self.request)
                and pattern.search(line.message) is not None
            )

        return kept


def log_files(file: Path) -> list[Path]:
    """Return the existing files of the log, the oldest first."""
    earlier = [
        (int(found.suffix[1:]), found) for found in file.parent.glob(f"{file.name}.*") if found.suffix[1:].isdigit()
    ]
    return [found for _, found in sorted(earlier, reverse=True)] + ([file] if file.exists() else [])


def lines_of(file: Path, follow: bool) -> Iterator[LogLine | None]:
    """Yield all lines of the log's files, then None, and then, if `follow`, each line that is written from now on.

    A file that is begun later is followed as well. Raises OSError.
    """
    for each in log_files(file):
        if each != file:
            yield from _lines_of(each)
    with ExitStack() as files:
        opened = _opened(file, files)
        begun, stored = b"", True
        while True:
            *lines, begun = (begun + opened.read()).split(b"\n") if opened is not None else [begun]
            yield from map(decoded, lines)
            if stored:
                yield None
                stored = False
            if not follow:
                return
            if not lines and (opened is None or _is_replaced(file, opened)):
                files.close()
                opened, begun = _opened(file, files), b""
            time.sleep(POLL_SECONDS)


def decoded(data: bytes) -> LogLine:
    """Return a line of the file. One that is no JSON, such as one of an earlier version, is the message itself."""
    try:
        line = DECODER.decode(data)
        time.localtime(line.at)  # a time of a damaged line may be out of its range
        return line
    except (msgspec.MsgspecError, ValueError, OverflowError, OSError, RecursionError):
        return LogLine(at=0.0, level="info", source="", message=data.decode(errors="replace").rstrip("\n"))


def _opened(file: Path, files: ExitStack) -> IO[Any] | None:
    try:
        return files.enter_context(open_owned(file, "rb"))
    except FileNotFoundError:
        return None


def _lines_of(file: Path) -> Iterator[LogLine]:
    with ExitStack() as files:
        if (opened := _opened(file, files)) is not None:  # else a new file was begun meanwhile
            yield from map(decoded, opened)


def _is_replaced(file: Path, opened: IO[Any]) -> bool:
    try:
        return file.stat().st_ino != os.fstat(opened.fileno()).st_ino
    except FileNotFoundError:
        return False

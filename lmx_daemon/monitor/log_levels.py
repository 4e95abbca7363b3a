"""Levels of the log by part. Pure."""

import logging
from collections.abc import Mapping

NUMBERS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def source_of(logger: str) -> str:
    """Return the source of a logger's lines: "worker org/m" of "lmx.worker org/m"."""
    return logger.removeprefix("lmx.").removeprefix("lmx") or "daemon"


def part_of(logger: str) -> str:
    """Return the part that a logger belongs to: "worker" of "lmx.worker org/m", "uvicorn" of "uvicorn.error"."""
    return source_of(logger).partition(" ")[0].partition(".")[0]


class Levels:
    """The lowest level of each part's lines."""

    def __init__(self, default: str, parts: Mapping[str, str]) -> None:
        self._default = NUMBERS[default]
        self._parts = {part: NUMBERS[level] for part, level in parts.items()}

    @property
    def lowest(self) -> int:
        """Lowest level of all parts."""
        return min(self._default, *self._parts.values()) if self._parts else self._default

    def admit(self, record: logging.LogRecord) -> bool:
        """Return whether the record is written."""
        return record.levelno >= self._parts.get(part_of(record.name), self._default)

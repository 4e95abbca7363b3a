"""Limits on JSON values that a request hands on unchanged: schemas of tools and arguments of calls."""

from typing import Any

from lmx_daemon.contract.errors import RequestError
from lmx_daemon.contract.text import MAX_INTEGER, MIN_INTEGER

MAX_DEPTH = 64
"""Limit on nesting. Schemas written by people are far below it."""


def check_json(value: Any, place: str) -> None:
    """Raise RequestError for a value nested deeper than MAX_DEPTH or with an integer of more than 64 bits."""
    level = [value]
    for _ in range(MAX_DEPTH):
        inner = [
            each for outer in level for each in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(each, dict | list | int)
        ]  # fmt: skip
        level = [each for each in inner if not isinstance(each, int)]
        for each in inner:
            if isinstance(each, int):
                check_integer(each, place)
        if not level:
            return
    raise RequestError(f"{place}: nested more than {MAX_DEPTH} deep", param=place)


def check_integer(value: int, place: str) -> None:
    """Raise RequestError for an integer that the frames to a worker cannot hold."""
    if not MIN_INTEGER <= value <= MAX_INTEGER:
        raise RequestError(f"{place}: an integer has more than 64 bits", param=place)

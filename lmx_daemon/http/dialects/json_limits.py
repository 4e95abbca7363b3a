"""Limits on JSON values that a request hands on unchanged: schemas of tools and arguments of calls."""

from itertools import chain
from typing import Any

from lmx_daemon.contract.errors import RequestError
from lmx_daemon.contract.text import MAX_INTEGER, MIN_INTEGER

MAX_DEPTH = 64
"""Limit on nesting. Schemas written by people are far below it."""


def check_json(value: Any, place: str) -> None:
    """Raise RequestError for a value nested deeper than MAX_DEPTH or with an integer of more than 64 bits.

    A decoded body has the exact types, whose comparison is faster than isinstance.
    """
    if type(value) is int:
        check_integer(value, place)
    level = [value] if type(value) is dict or type(value) is list else []
    for _ in range(MAX_DEPTH):
        inner = list(chain.from_iterable(each.values() if type(each) is dict else each for each in level))
        level = [each for each in inner if type(each) is dict or type(each) is list]
        for each in inner:
            if type(each) is int:
                check_integer(each, place)
        if not level:
            return
    raise RequestError(f"{place}: nested more than {MAX_DEPTH} deep", param=place)


def check_integer(value: int, place: str) -> None:
    """Raise RequestError for an integer that the frames to a worker cannot hold."""
    if not MIN_INTEGER <= value <= MAX_INTEGER:
        raise RequestError(f"{place}: an integer has more than 64 bits", param=place)

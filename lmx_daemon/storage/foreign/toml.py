"""Parsing of TOML texts, with a bound on the length of keys. The caller interprets the tables."""

import re
import tomllib
from typing import Any

MAX_PARTS = 32
"""Maximum number of parts of a dotted key. No table of lmx is nested that deeply."""
PART = r"""(?:[\w-]+|"[^"\n]*"|'[^'\n]*')"""
LONG_KEY = re.compile(rf"(?<![\w-])(?:{PART}[ \t]*\.[ \t]*){{{MAX_PARTS}}}")


def parsed_toml(text: str) -> dict[str, Any]:
    """Return the tables of a text. Raise ValueError (TOMLDecodeError is a subclass) or RecursionError.

    The memory that tomllib uses grows with the square of the number of parts of a key: gigabytes for a key of 100 KB.
    """
    if found := LONG_KEY.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise ValueError(f"A key has more than {MAX_PARTS} parts (at line {line}, column 1)")
    return tomllib.loads(text)

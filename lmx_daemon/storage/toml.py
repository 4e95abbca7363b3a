"""TOML texts, with a bound on the length of keys. What a text means is the matter of its user."""

import re
import tomllib
from typing import Any

MAX_PARTS = 32
"""Number of parts of a dotted key. No table of lmx is nested as deeply."""
PART = r"""(?:[\w-]+|"[^"\n]*"|'[^'\n]*')"""
LONG_KEY = re.compile(rf"(?<![\w-])(?:{PART}[ \t]*\.[ \t]*){{{MAX_PARTS}}}")


def parsed_toml(text: str) -> dict[str, Any]:
    """Return the tables of a text. Raise ValueError, which TOMLDecodeError is, or RecursionError.

    tomllib takes memory in proportion to the square of the parts of a key: gigabytes for a key of 100 KB.
    """
    if found := LONG_KEY.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise ValueError(f"A key has more than {MAX_PARTS} parts (at line {line}, column 1)")
    return tomllib.loads(text)

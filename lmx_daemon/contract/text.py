r"""Sanitising of external text and values for encoders and logs: valid UTF-8, 64-bit integers, one line, no secrets.

A lone surrogate is half of a UTF-16 pair (`\ud83d`) or a byte of a file name that is not UTF-8 (`\udce9`). A Python
`str` can contain it, but no encoder accepts it. Each edge replaces it where text enters: files, the Hub, requests and
answers.
"""

import re
from typing import Any

MIN_INTEGER, MAX_INTEGER = -(2**63), 2**64 - 1
"""Range of integers in msgpack."""
MAX_DEPTH = 200
"""Depth of nesting above which a container is replaced by None."""


def valid_text(text: str) -> str:
    """Return `text` with each lone surrogate replaced by U+FFFD; two halves that form a pair become their character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def encodable(value: Any, depth: int = 0) -> Any:
    """Return a JSON-like value that every encoder takes: valid text, also in keys, and bounded integers and nesting."""
    match value:
        case str():
            return valid_text(value)
        case bool():
            return value
        case int():
            return min(max(value, MIN_INTEGER), MAX_INTEGER)
        case dict() | list() | tuple() if depth >= MAX_DEPTH:
            return None
        case dict():
            return {encodable(key, depth + 1): encodable(held, depth + 1) for key, held in value.items()}
        case list() | tuple():
            return [encodable(held, depth + 1) for held in value]
        case _:
            return value


_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that end a line, control a terminal, change the text direction, or cannot be encoded."""
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def one_line(text: str) -> str:
    """Return `text` with control, C1, bidi and line-breaking characters as escapes, so that it is one line of a log."""
    return text if text.isprintable() else _UNSAFE.sub(_escape, text)


def printable_lines(text: str) -> str:
    """Return `text` as `one_line` does, but with its newlines and tabs kept."""
    return text if text.isprintable() else _UNSAFE.sub(lambda m: m[0] if m[0] in "\n\t" else _escape(m), text)


_CREDENTIALS = re.compile(r"://[^\s/?#]*@")
_URL = re.compile(r"://[^\s'\"<>]*")


def without_secrets(text: str) -> str:
    """Return `text` with each URL without its user, password and query: a query may hold a signature or a token."""
    return _URL.sub(_without_query, _CREDENTIALS.sub("://", text)) if "://" in text else text


def _without_query(match: re.Match[str]) -> str:
    address, mark, query = match[0].partition("?")
    return f"{address}?..." if query else address + mark


def shortened(text: str, most: int) -> str:
    """Return `text` with at most `most` characters: its begin and its end, joined by "..."."""
    if len(text) <= most:
        return text
    begin = (most - 3) * 2 // 3
    return f"{text[:begin]}...{text[len(text) - (most - 3 - begin) :]}"


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    code = ord(character)
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")

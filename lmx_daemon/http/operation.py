"""Description of one route, of which the OpenAPI document is made."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Operation:
    """A method on a path: its body, its answers and its errors, as types that msgspec describes."""

    method: Literal["get", "post", "delete"]
    path: str
    """Path in OpenAPI's form, with parameters in braces."""
    name: str
    """Unique in the document; generated clients use it as the name of a function."""
    summary: str
    answer: Any
    """Type of the answer, status 200. None is an answer without a body."""
    answer_type: str = "application/json"
    body: Any = None
    stream: Any = None
    """Type of the JSON value in each event of a streamed answer; None for a route that does not stream."""
    stream_note: str = ""
    stream_end: str | None = None
    """Data of the last server-sent event if it is not JSON."""
    error: Any = None
    """Type of the answer for each status of `errors`."""
    errors: Sequence[int] = ()
    needs_key: bool = True

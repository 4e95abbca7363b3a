"""The parts of a request that a dialect ignores because no local model can use them, as a header and a log line."""

import re
from typing import Any

from litestar import Response

from lmx_daemon.monitor.logs import log

HEADER = "x-lmx-ignored"
MAX_ENTRIES = 20
MAX_CHARACTERS = 80
UNSAFE = re.compile(r"[^\w.\[\]-]", re.ASCII)
"""Characters of a client's text that are replaced, so that the text fits into a header."""


class Ignored:
    """The ignored parts of one request, in the order in which the translation meets them."""

    def __init__(self) -> None:
        self._entries: list[str] = []

    def note(self, place: str, kind: str) -> None:
        """Add the part at `place`, whose type is `kind`."""
        self._entries.append(f"{place} ({UNSAFE.sub('?', kind[:MAX_CHARACTERS])})")

    @property
    def text(self) -> str:
        """All parts in one line of bounded length; "" for none."""
        more = len(self._entries) - MAX_ENTRIES
        return "; ".join([*self._entries[:MAX_ENTRIES], *([f"{more} more"] if more > 0 else [])])

    def report(self, response: Response[Any], request_id: str) -> None:
        """Set the header of the answer, and write a line to the log. Do nothing if no part was ignored."""
        if self._entries:
            response.set_header(HEADER, self.text)
            log("http", "info", f"ignored in the request: {self.text}", request_id)

"""A request as Markdown, for a bug report. Pure."""

import time
from collections.abc import Sequence

import msgspec

from lmx_daemon.contract.admin.history import RequestRecord
from lmx_daemon.contract.admin.snapshot import LogLine
from lmx_daemon.contract.text import printable_lines, shortened

MAX_BODY = 256 * 1024
"""Limit on the characters of the request in a report. Of a longer one, the beginning and the end are kept."""
NO_BODY = (
    "The text of the request was not kept. With `[history] failed_requests = true` in config.toml, requests that fail "
    "from then on are kept with their text for a day."
)


def markdown(record: RequestRecord, body: bytes | None, lines: Sequence[LogLine], versions: dict[str, str]) -> str:
    """Return the report: versions, record, log lines, and the request itself if it is kept."""
    parts = [
        f"# Request {_code(record.id)}",
        _table(versions),
        "## Record",
        _table({name: str(value) for name, value in _shown(record).items()}),
        "## Log",
        _block("", "\n".join(_line(line) for line in lines)) if lines else "The log has no lines of this request.",
        "## Request",
        NO_BODY if body is None else _block("json", _body(body)),
    ]
    return "\n\n".join(parts) + "\n"


def _shown(record: RequestRecord) -> dict[str, object]:
    found: dict[str, object] = msgspec.to_builtins(record)
    found["at"] = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(record.at))
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in found.items()}


def _table(rows: dict[str, str]) -> str:
    cells = [f"| {name} | {_code(value)} |" for name, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *cells])


def _line(line: LogLine) -> str:
    return f"{time.strftime('%H:%M:%S', time.localtime(line.at))} {line.level} {line.source} {line.message}"


def _body(body: bytes) -> str:
    return shortened(printable_lines(msgspec.json.format(body, indent=2).decode()), MAX_BODY)


def _code(text: str) -> str:
    """Return `text` as code in a cell of a table; text of a client cannot end it."""
    plain = text.replace("`", "'").replace("|", "\\|").replace("\n", " ")
    return f"`{plain}`" if plain else ""


def _block(language: str, text: str) -> str:
    """Return a block of code, with a fence that is longer than any in the text."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text}\n{fence}"

"""The file of records: one SQLite table with a column for each field, bounded in age and in rows.

Failed requests with their text have a table of their own, with a shorter life. All calls block and belong in a thread.
"""

import time
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from lmx_daemon.contract.admin.history import Grouping, RequestRecord, RequestTotals
from lmx_daemon.settings.sections.history import HistorySettings
from lmx_daemon.storage.database import Layout, OwnedDatabase

DAY = 86_400.0
BODY_SECONDS = DAY
"""Time for which a failed request is kept with its text."""
MAX_BODY_BYTES = 8 * 1024 * 1024
"""Compressed size above which a failed request is recorded without its text."""
COLUMNS = {
    "id": "TEXT", "at": "REAL", "model": "TEXT", "outcome": "TEXT", "served_by": "TEXT", "routed": "TEXT",
    "route": "TEXT", "dialect": "TEXT", "tenant": "TEXT", "client": "TEXT", "finish": "TEXT",
    "error": "TEXT", "message": "TEXT",
    "total": "REAL", "queue": "REAL", "load": "REAL", "prefill": "REAL", "first_token": "REAL", "decode": "REAL",
    "prompt_tokens": "INTEGER", "cached_tokens": "INTEGER", "truncated_tokens": "INTEGER",
    "completion_tokens": "INTEGER", "miss": "TEXT", "first_difference": "INTEGER", "body": "INTEGER",
}  # fmt: skip
"""Columns of a record: the fields of RequestRecord, with their types in SQLite."""
TABLES = f"""
CREATE TABLE IF NOT EXISTS requests (
    number INTEGER PRIMARY KEY AUTOINCREMENT, {", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())}
);
CREATE INDEX IF NOT EXISTS requests_by_time ON requests (at);
CREATE INDEX IF NOT EXISTS requests_by_id ON requests (id);
CREATE TABLE IF NOT EXISTS bodies (
    number INTEGER PRIMARY KEY, at REAL NOT NULL, bytes INTEGER NOT NULL, body BLOB NOT NULL
);
"""
LAYOUT = Layout("records of requests", TABLES, "requests", COLUMNS, survives_power_cut=False)
NAMES = ", ".join(COLUMNS)
INSERT = f"INSERT INTO requests ({NAMES}) VALUES ({', '.join('?' * len(COLUMNS))})"
GROUPS = {
    "model": "CAST(CASE WHEN served_by = '' THEN model ELSE served_by END AS TEXT)",
    "key": "CAST(tenant AS TEXT)",
    "day": "strftime('%Y-%m-%d', at, 'unixepoch', 'localtime')",
}


MOST = 1e12
"""Largest figure of a record that is not damaged, far above any time and any number of tokens."""
SUMS = ", ".join(
    f"TOTAL(CASE WHEN {name} BETWEEN 0 AND {MOST} THEN {name} END)"
    for name in ("prompt_tokens", "cached_tokens", "completion_tokens", "total")
)
"""Sums that a damaged figure is left out of; in SQLite, texts and blobs are above all numbers."""


class Written(NamedTuple):
    """A record to be written, and the request itself if it is kept."""

    record: RequestRecord
    body: bytes | None = None


class Criteria(NamedTuple):
    """Conditions that a record has to fulfil; None and "" set no condition."""

    model: str = ""
    """Name that the client gave, or id of the model that was chosen."""
    outcome: str = ""
    tenant: str = ""
    since: float | None = None


class HistoryStore:
    """The records. `settings` returns the bounds in force."""

    def __init__(
        self, file: Path, settings: Callable[[], HistorySettings], clock: Callable[[], float] = time.time
    ) -> None:
        self._settings, self._clock = settings, clock
        self._database = OwnedDatabase(file, LAYOUT)

    def add(self, entries: Iterable[Written]) -> None:
        """Write the records in one transaction, and drop what is above the bounds. Raise DiskError."""
        prepared = [(entry.record, _packed(entry.body)) for entry in entries]
        with self._database.opened() as database:
            for record, body in prepared:
                kept = msgspec.structs.replace(record, body=body is not None)
                number = database.execute(INSERT, [getattr(kept, name) for name in COLUMNS]).lastrowid
                if body is not None:
                    row = (number, self._clock(), len(body), body)
                    database.execute("INSERT INTO bodies VALUES (?, ?, ?, ?)", row)
            self._prune(database)

    def prune(self) -> None:
        """Drop what is above the bounds. Raise DiskError."""
        if self._database.file.exists():
            with self._database.opened() as database:
                self._prune(database)

    def find(self, criteria: Criteria, limit: int) -> list[RequestRecord]:
        """Return the newest records that fulfil the criteria, oldest first. Raise DiskError."""
        where, values = _conditions(criteria)
        statement = f"SELECT {NAMES} FROM requests {where} ORDER BY number DESC LIMIT ?"
        with self._database.opened() as database:
            rows = database.execute(statement, [*values, limit]).fetchall()
        return [record for row in reversed(rows) if (record := _record(row)) is not None]

    def get(self, identity: str) -> tuple[RequestRecord, bytes | None] | None:
        """Return the newest record whose id begins with `identity`, and the request itself if it is kept.

        A record with exactly this id is preferred. Raise DiskError.
        """
        statement = (
            f"SELECT number, {NAMES} FROM requests WHERE substr(id, 1, ?) = ? ORDER BY id = ? DESC, number DESC LIMIT 1"
        )
        with self._database.opened() as database:
            row = database.execute(statement, (len(identity), identity, identity)).fetchone()
            if row is None:
                return None
            oldest = self._clock() - BODY_SECONDS
            kept = database.execute("SELECT body FROM bodies WHERE number = ? AND at >= ?", (row[0], oldest)).fetchone()
        record, body = _record(row[1:]), _unpacked(kept)
        return None if record is None else (msgspec.structs.replace(record, body=body is not None), body)

    def totals(self, by: Grouping, criteria: Criteria) -> list[RequestTotals]:
        """Return the sums over the records of each group: days in order, else the group with most requests first."""
        where, values = _conditions(criteria)
        order = "1" if by == "day" else "2 DESC, 1"
        statement = (
            f"SELECT {GROUPS[by]}, COUNT(*), TOTAL(outcome = 'failed'), TOTAL(outcome = 'cancelled'), {SUMS} "
            f"FROM requests {where} GROUP BY 1 ORDER BY {order}"
        )
        with self._database.opened() as database:
            rows = database.execute(statement, values).fetchall()
        return [
            RequestTotals(
                name=name or "",
                requests=requests,
                failed=int(failed),
                cancelled=int(cancelled),
                prompt_tokens=int(prompt),
                cached_tokens=int(cached),
                completion_tokens=int(completion),
                seconds=seconds,
            )
            for name, requests, failed, cancelled, prompt, cached, completion, seconds in rows
        ]

    def clear(self) -> int:
        """Delete all records. Return their number. Raise DiskError."""
        with self._database.opened() as database:
            database.execute("DELETE FROM bodies")
            return database.execute("DELETE FROM requests").rowcount

    def close(self) -> None:
        """Close the file. A later call opens it again."""
        self._database.close()

    def _prune(self, database: Any) -> None:
        settings, now = self._settings(), self._clock()
        database.execute("DELETE FROM requests WHERE at < ?", (now - settings.days * DAY,))
        database.execute(
            "DELETE FROM requests WHERE number <= (SELECT MAX(number) FROM requests) - ?", (settings.max_requests,)
        )
        database.execute("DELETE FROM bodies WHERE at < ?", (now - BODY_SECONDS,))
        database.execute(
            "DELETE FROM bodies WHERE number IN (SELECT number FROM (SELECT number, SUM(bytes) OVER "
            "(ORDER BY number DESC ROWS UNBOUNDED PRECEDING) AS size FROM bodies) WHERE size > ?)",
            (settings.failed_bytes,),
        )
        database.execute("DELETE FROM bodies WHERE number NOT IN (SELECT number FROM requests)")


def _conditions(criteria: Criteria) -> tuple[str, list[Any]]:
    """Return the WHERE clause of the criteria, and its values."""
    parts: list[str] = []
    values: list[Any] = []
    if criteria.model:
        parts.append("(model = ? OR served_by = ?)")
        values += [criteria.model, criteria.model]
    if criteria.outcome:
        parts.append("outcome = ?")
        values.append(criteria.outcome)
    if criteria.tenant:
        parts.append("tenant = ?")
        values.append(criteria.tenant)
    if criteria.since is not None:
        parts.append("at >= ?")
        values.append(criteria.since)
    return (f"WHERE {' AND '.join(parts)}" if parts else ""), values


def _packed(body: bytes | None) -> bytes | None:
    packed = zlib.compress(body, 1) if body is not None else None
    return packed if packed is not None and len(packed) <= MAX_BODY_BYTES else None


def _record(row: tuple[Any, ...]) -> RequestRecord | None:
    """Return the record of a row; None for one with damaged values, which must not hide the others."""
    found = {name: value for name, value in zip(COLUMNS, row, strict=True) if value is not None}
    if not all(abs(value) <= MOST for value in found.values() if isinstance(value, int | float)):
        return None
    try:
        return msgspec.convert(found | {"body": bool(found.get("body"))}, RequestRecord)
    except msgspec.ValidationError:
        return None


def _unpacked(kept: tuple[Any, ...] | None) -> bytes | None:
    """Return the text of a request; None if it is not kept or damaged."""
    try:
        return zlib.decompress(kept[0]) if kept else None
    except (zlib.error, TypeError):
        return None

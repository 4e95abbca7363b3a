"""Tests of the file of records: bounds, questions, older files, damage, and kills at any instant."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lmx_daemon.contract.admin.history import RequestRecord
from lmx_daemon.contract.errors import DiskError
from lmx_daemon.history.store import DAY, Criteria, HistoryStore, Written
from lmx_daemon.settings.sections.history import HistorySettings

NOW = 1_000_000_000.0
ANY = Criteria()


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


def store_in(folder: Path, settings: HistorySettings | None = None, clock: Clock | None = None) -> HistoryStore:
    return HistoryStore(folder / "requests.db", lambda: settings or HistorySettings(), clock or Clock())


def record(identity: str, at: float = NOW, **fields: object) -> RequestRecord:
    return msgspec.convert({"id": identity, "at": at, "model": "m", "outcome": "finished", **fields}, RequestRecord)


def ids(store: HistoryStore, criteria: Criteria = ANY, limit: int = 100) -> list[str]:
    return [found.id for found in store.find(criteria, limit)]


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    full = record(
        "a", model="code", served_by="org/m", routed="alias", route="/v1/x", dialect="d", tenant="key:k", client="c/1",
        finish="stop", error="e", message="why", total=1.5, queue=0.5, load=0.25, prefill=0.1, first_token=0.7,
        decode=0.8, prompt_tokens=9, cached_tokens=3, truncated_tokens=1, completion_tokens=4, miss="evicted",
        first_difference=3,
    )  # fmt: skip
    store = store_in(tmp_path)
    store.add([Written(full), Written(record("b"))])
    assert store.find(ANY, 10) == [full, record("b")]
    store.close()
    assert store_in(tmp_path).find(ANY, 1) == [record("b")]


def test_records_are_found_by_model_outcome_key_and_time(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.add(
        [
            Written(record("a", model="code", served_by="org/m", tenant="key:k")),
            Written(record("b", outcome="failed", at=NOW - 100)),
            Written(record("c", outcome="cancelled")),
        ]
    )
    assert ids(store, Criteria(model="code")) == ids(store, Criteria(model="org/m")) == ["a"]
    assert ids(store, Criteria(outcome="failed")) == ["b"]
    assert ids(store, Criteria(tenant="key:k")) == ["a"]
    assert ids(store, Criteria(since=NOW - 50)) == ["a", "c"]
    assert ids(store, limit=2) == ["b", "c"]


def test_row_with_damaged_values_does_not_hide_the_others(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.add([Written(record("a"), b"text"), Written(record("b")), Written(record("c")), Written(record("d"))])
    store.close()
    database = sqlite3.connect(tmp_path / "requests.db")
    with database:
        database.execute("UPDATE bodies SET body = x'0011'")
        database.execute("UPDATE requests SET model = x'ff' WHERE id = 'b'")
        database.execute("UPDATE requests SET total = 9e999 WHERE id = 'c'")
    database.close()
    assert ids(store) == ["a", "d"] and store.get("b") is None
    found, body = store.get("a") or (None, b"")
    assert found == record("a") and body is None


@pytest.mark.parametrize("damage", ["9e999", "-9e999", "x'ff'", "CAST(x'ff' AS TEXT)", "'text'", "1e300"])
def test_damaged_figures_are_left_out_of_totals(tmp_path: Path, damage: str) -> None:
    store = store_in(tmp_path)
    store.add([Written(record(name, total=1.5, prompt_tokens=2, completion_tokens=1)) for name in "abc"])
    with sqlite3.connect(tmp_path / "requests.db") as database:
        columns = ("total", "prompt_tokens", "completion_tokens", "at", "outcome")
        for identity, sign in (("a", ""), ("b", "-" if damage[0] != "-" else "0")):
            values = ", ".join(f"{column} = {damage if sign == '' else sign + '9e999'}" for column in columns)
            database.execute(f"UPDATE requests SET {values} WHERE id = ?", (identity,))
    database.close()
    (total,) = store.totals("model", ANY)
    assert (total.requests, total.seconds, total.prompt_tokens, total.completion_tokens) == (3, 1.5, 2, 1)
    days = store.totals("day", ANY)
    assert sum(day.requests for day in days) == 3 and msgspec.json.decode(msgspec.json.encode(days), type=list[Any])
    assert ids(store) == ["c"]


def test_fifo_in_place_of_the_file_is_an_error_and_not_a_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "requests.db")
    store = store_in(tmp_path)
    for act in (lambda: store.find(ANY, 1), store.prune, store.clear):
        with pytest.raises(DiskError, match=r"requests\.db is not a regular file") as raised:
            act()
        assert raised.value.hint == "move it away"


def test_records_above_the_bounds_of_age_and_number_are_dropped(tmp_path: Path) -> None:
    clock = Clock()
    store = store_in(tmp_path, HistorySettings(days=2.0, max_requests=3), clock)
    store.add([Written(record(name)) for name in "abcd"])
    assert ids(store) == ["b", "c", "d"]
    clock.now += 2 * DAY + 1
    store.prune()
    assert ids(store) == []


def test_a_request_is_found_by_the_beginning_of_its_id_the_newest_first(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.add(
        [Written(record("abc", total=1.0)), Written(record("abcd", total=2.0)), Written(record("abc", total=3.0))]
    )
    for name, total in (("abc", 3.0), ("abcd", 2.0), ("ab", 3.0)):
        found = store.get(name)
        assert found is not None and found[0].total == total
    assert store.get("b") is None and store.get("%") is None


def test_a_failed_request_is_kept_with_its_text_for_a_day(tmp_path: Path) -> None:
    clock = Clock()
    store = store_in(tmp_path, clock=clock)
    store.add([Written(record("a"), b'{"prompt": "secret words"}')])
    found = store.get("a")
    assert found is not None and found[0].body and found[1] == b'{"prompt": "secret words"}'
    clock.now += DAY + 1
    found = store.get("a")
    assert found is not None and not found[0].body and found[1] is None
    store.prune()
    with sqlite3.connect(tmp_path / "requests.db") as database:
        assert database.execute("SELECT COUNT(*) FROM bodies").fetchone() == (0,)
    database.close()


def test_failed_requests_above_the_bound_of_bytes_lose_their_text(tmp_path: Path) -> None:
    store = store_in(tmp_path, HistorySettings(failed_bytes=3000))
    store.add([Written(record(name), os.urandom(1000)) for name in "abcd"])
    kept = {name: found[1] is not None for name in "abcd" if (found := store.get(name)) is not None}
    assert kept == {"a": False, "b": False, "c": True, "d": True}


def test_totals_of_models_keys_and_days(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.add(
        [
            Written(record("a", served_by="org/m", tenant="key:k", prompt_tokens=10, cached_tokens=4, total=1.0)),
            Written(record("b", served_by="org/m", outcome="failed", tenant="http", at=NOW - DAY)),
            Written(record("c", model="other", completion_tokens=7, outcome="cancelled", tenant="key:k", total=2.0)),
        ]
    )
    models = {total.name: total for total in store.totals("model", ANY)}
    assert list(models) == ["org/m", "other"]
    assert (models["org/m"].requests, models["org/m"].failed, models["org/m"].prompt_tokens) == (2, 1, 10)
    assert (models["other"].cancelled, models["other"].completion_tokens) == (1, 7)
    keys = {total.name: total.requests for total in store.totals("key", ANY)}
    assert keys == {"key:k": 2, "http": 1}
    days = store.totals("day", ANY)
    assert [total.requests for total in days] == [1, 2] and days[0].name < days[1].name
    assert store.clear() == 3 and store.totals("model", ANY) == []


def test_a_file_of_an_earlier_version_gets_the_columns_that_it_lacks(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "requests.db") as database:
        database.execute("CREATE TABLE requests (number INTEGER PRIMARY KEY, id TEXT, at REAL, model TEXT)")
        database.execute("ALTER TABLE requests ADD COLUMN outcome TEXT")
        database.execute("INSERT INTO requests (id, at, model, outcome) VALUES ('old', ?, 'm', 'finished')", (NOW,))
    database.close()
    store = store_in(tmp_path)
    store.add([Written(record("new", miss="evicted"))])
    assert ids(store) == ["old", "new"]


@pytest.mark.parametrize("damage", [b"not a database" * 500, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_damaged_file_is_renamed_and_a_new_one_begun(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "requests.db").write_bytes(damage)
    store = store_in(tmp_path)
    store.add([Written(record("a"))])
    assert ids(store) == ["a"]
    assert any("unreadable" in file.name for file in tmp_path.iterdir())


def test_a_file_that_is_truncated_while_it_is_open_is_replaced(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.add([Written(record(f"r{number}", message="x" * 400)) for number in range(500)])
    store.close()
    content = (tmp_path / "requests.db").read_bytes()
    (tmp_path / "requests.db").write_bytes(content[: len(content) // 2])
    for _ in range(3):
        try:
            store.add([Written(record("new"))])
        except DiskError:
            continue
    assert ids(store)[-1] == "new"


WRITER = """
import sys
from pathlib import Path
from tests.history.test_store import Written, record, store_in
store = store_in(Path(sys.argv[1]))
for number in range(100_000):
    store.add([Written(record(f"r{number}.{part}"), b"body") for part in range(3)])
    print(number, flush=True)
"""


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.05, 0.2])
def test_a_killed_writer_loses_nothing_that_it_wrote_and_damages_nothing(tmp_path: Path, delay: float) -> None:
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    acknowledged = [0, *(int(line) for line in process.stdout.read().split("\n")[:-1])]
    process.wait()
    process.stdout.close()
    found = ids(store_in(tmp_path), limit=10**6)
    assert len(found) >= 3 * (acknowledged[-1] + 1) and len(found) % 3 == 0
    with sqlite3.connect(tmp_path / "requests.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()
    assert not [file for file in tmp_path.iterdir() if "unreadable" in file.name]

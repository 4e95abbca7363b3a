"""Tests of the observer that records requests: batches, switches, faults of the disk."""

import logging
from pathlib import Path

import pytest

from lmx_daemon.contract.admin.snapshot import RequestRow
from lmx_daemon.contract.errors import DiskError, RequestNotFoundError
from lmx_daemon.contract.generation.requests import Generate, Text
from lmx_daemon.history import history as module
from lmx_daemon.history.history import History
from lmx_daemon.history.store import Criteria, HistoryStore
from lmx_daemon.settings.sections.history import HistorySettings

REQUEST = Generate(id="r", model="m", prompt=Text(text="secret words"))
ANY = Criteria()


class Switches:
    """Settings that a test replaces."""

    def __init__(self, **values: bool) -> None:
        self.current = HistorySettings(**values)  # type: ignore[arg-type]

    def __call__(self) -> HistorySettings:
        return self.current


def history_in(folder: Path, settings: Switches | None = None) -> History:
    settings = settings or Switches()
    return History(HistoryStore(folder / "requests.db", settings), settings, lambda route: "openai_chat")


def row(identity: str = "r", state: str = "finished") -> RequestRow:
    return RequestRow(id=identity, model="m", state=state, started_at=2e9)  # type: ignore[arg-type]


async def test_a_record_is_read_at_once(tmp_path: Path) -> None:
    history = history_in(tmp_path)
    history.ended(REQUEST, row())
    assert [record.id for record in await history.find(ANY, 10)] == ["r"]


async def test_the_thread_writes_without_a_reader_and_at_the_close(tmp_path: Path) -> None:
    history = history_in(tmp_path)
    history.open()
    for number in range(500):
        history.ended(REQUEST, row(f"r{number}"))
    await history.close()
    assert len(await history_in(tmp_path).find(ANY, 1000)) == 500


async def test_nothing_is_kept_while_it_is_switched_off(tmp_path: Path) -> None:
    settings = Switches(enabled=False)
    history = history_in(tmp_path, settings)
    history.ended(REQUEST, row("a"))
    settings.current = HistorySettings()
    history.ended(REQUEST, row("b"))
    assert [record.id for record in await history.find(ANY, 10)] == ["b"]


@pytest.mark.parametrize(
    ("switched_on", "state", "kept"), [(True, "failed", True), (True, "finished", False), (False, "failed", False)]
)
async def test_only_failed_requests_are_kept_with_their_text_and_only_if_switched_on(
    tmp_path: Path, switched_on: bool, state: str, kept: bool
) -> None:
    history = history_in(tmp_path, Switches(failed_requests=switched_on))
    history.ended(REQUEST, row(state=state))
    record, body = await history.get("r")
    assert record.body == kept and (body is not None and b"secret words" in body) == kept
    history._store.close()
    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"secret words" not in stored  # compressed where it is kept


async def test_the_id_of_an_answer_names_its_request(tmp_path: Path) -> None:
    history = history_in(tmp_path)
    history.ended(REQUEST, row("0a1b2c"))
    assert (await history.get("chatcmpl-0a1b2c"))[0].id == "0a1b2c"
    for unknown in ("", "chatcmpl-", "nosuch"):
        with pytest.raises(RequestNotFoundError) as raised:
            await history.get(unknown)
        assert "lmx requests" in (raised.value.hint or "")


async def test_a_disk_that_takes_no_records_is_logged_once_and_does_not_raise(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "requests.db").mkdir()
    history = history_in(tmp_path)
    with caplog.at_level(logging.WARNING, "lmx.history"):
        for _ in range(3):
            history.ended(REQUEST, row())
            history.write()
    assert caplog.text.count("records of requests are lost") == 1


async def test_a_flood_of_refused_requests_does_not_displace_the_records_of_others(tmp_path: Path) -> None:
    history = history_in(tmp_path)
    history.ended(REQUEST, row("answered"))
    for number in range(1000):
        history.refused(REQUEST, row(str(number), state="failed"))
    found = [record.id for record in await history.find(ANY, 10**6)]
    assert found[:2] == ["answered", "0"] and len(found) < 500


async def test_records_that_wait_for_the_disk_are_bounded(tmp_path: Path) -> None:
    history = history_in(tmp_path)
    for number in range(module.MAX_WAITING + 5):
        history.ended(REQUEST, row(str(number)))
    assert len(await history.find(ANY, 10**6)) == module.MAX_WAITING


async def test_fault_of_the_disk_is_tried_again_with_the_next_record_and_not_at_once(tmp_path: Path) -> None:
    tried: list[str] = []

    class Broken(HistoryStore):
        def prune(self) -> None:
            tried.append("prune")
            raise DiskError("no disk")

    history = History(Broken(tmp_path / "requests.db", HistorySettings), HistorySettings, lambda route: "openai_chat")
    history.open()
    history.ended(REQUEST, row())
    await history.close()
    assert tried == ["prune"]
    assert [found.id for found in await history.find(ANY, 10)] == ["r"]

"""Tests of the record of a request."""

import pytest

from lmx_daemon.contract.admin.snapshot import RequestRow
from lmx_daemon.contract.errors import ErrorBody
from lmx_daemon.contract.generation.events import Timings
from lmx_daemon.history.records import client_name, record_of
from lmx_daemon.history.store import COLUMNS

ROW = RequestRow(
    id="r",
    model="org/big",
    asked="code",
    routed="alias",
    state="finished",
    instance="org/big:1",
    client="claude-cli/2.0 (external, cli)",
    route="/v1/messages",
    tenant="key:laptop",
    started_at=1000.0,
    age=9.0,
    prompt_tokens=50,
    cached_tokens=10,
    completion_tokens=5,
    first_token=3.0,
    finish="stop",
    miss="evicted",
    first_difference=10,
    timings=Timings(queue=1.0, prefill=2.0, first_token=3.0, decode=4.0, load=0.5),
)


def test_a_record_has_the_model_that_was_asked_for_and_the_one_that_was_chosen() -> None:
    record = record_of(ROW, lambda route: "anthropic")
    assert (record.model, record.served_by, record.routed) == ("code", "org/big", "alias")
    assert (record.route, record.dialect, record.tenant, record.client) == (
        "/v1/messages", "anthropic", "key:laptop", "claude-cli/2.0",
    )  # fmt: skip
    assert (record.queue, record.load, record.prefill, record.first_token, record.decode) == (1.0, 0.5, 2.0, 3.0, 4.0)
    assert (record.miss, record.first_difference, record.rate) == ("evicted", 10, 1.0)


def test_a_request_that_did_not_begin_has_no_durations_of_later_stages() -> None:
    error = ErrorBody(code="deadline_exceeded", message="too late")
    row = RequestRow(id="r", model="m", state="failed", age=2.0, error=error, timings=Timings(queue=2.0))
    record = record_of(row, lambda route: "")
    assert (record.queue, record.prefill, record.first_token, record.decode) == (2.0, None, None, None)
    assert (record.outcome, record.error, record.dialect) == ("failed", "deadline_exceeded", "admin")


@pytest.mark.parametrize("state", ["queued", "loading", "prefill", "decode", "cancelled"])
def test_a_request_whose_client_left_is_cancelled(state: str) -> None:
    assert record_of(RequestRow(id="r", model="m", state=state), lambda route: "").outcome == "cancelled"  # type: ignore[arg-type]


def test_names_of_a_client_are_bounded_and_one_line() -> None:
    row = RequestRow(id="r\n\x1b[0m", model="m" * 10_000, state="finished", client="\ud800evil\r\n")
    record = record_of(row, lambda route: "")
    assert len(record.model) == 200 and record.id == "r\\n\\x1b[0m" and "\r" not in record.client
    record.client.encode()


def test_comments_of_a_user_agent_are_left_out() -> None:
    assert client_name("OpenAI/Python 3.5.0") == "OpenAI/Python 3.5.0"
    assert client_name("Mozilla/5.0 (X11; Linux)") == "Mozilla/5.0"


def test_the_file_has_a_column_for_each_field() -> None:
    assert list(COLUMNS) == list(record_of(ROW, lambda route: "").__struct_fields__)

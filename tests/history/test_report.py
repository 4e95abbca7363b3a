"""Tests of the report of one request."""

from lmx_daemon.contract.admin.history import RequestRecord
from lmx_daemon.contract.admin.snapshot import LogLine
from lmx_daemon.history.report import NO_BODY, markdown

RECORD = RequestRecord(id="r", at=0.0, model="m", outcome="failed", error="worker_failed")


def test_a_report_has_versions_record_log_and_request() -> None:
    line = LogLine(at=0.0, level="error", source="worker m", message="it ended")
    text = markdown(RECORD, b'{"prompt":"hello"}', [line], {"lmx": "1.2"})
    assert "| lmx | `1.2` |" in text and "| error | `worker_failed` |" in text
    assert "error worker m it ended" in text and '"prompt": "hello"' in text and NO_BODY not in text


def test_a_report_without_the_text_names_the_setting() -> None:
    assert "failed_requests" in markdown(RECORD, None, [], {})


def test_text_of_a_client_cannot_leave_its_block_or_cell() -> None:
    record = RequestRecord(id="`|\n# x", at=0.0, model="m", outcome="failed")
    text = markdown(record, b'{"prompt":"```\\n# injected"}', [], {})
    assert "# Request `'\\| # x`" in text and "````json" in text
    assert not [line for line in text.splitlines() if line.startswith("# injected")]

"""Tests of the log's lines: one line of bounded length for each record."""

import logging
from pathlib import Path

from lmx_daemon.monitor.logs import FORM, MAX_CHARACTERS, Logs, OneLine


async def test_line_of_any_record_is_bounded(tmp_path: Path) -> None:
    logs = Logs(tmp_path / "daemon.log")
    record = logging.LogRecord("lmx.pool", logging.ERROR, "", 0, "begin " + "\x1b" * 1_000_000 + " end", None, None)
    line = OneLine(FORM).format(record)
    assert len(line) == MAX_CHARACTERS and "begin" in line and line.endswith(" end")
    logs.emit(record)
    logs._file.close()
    kept = [each async for each in logs.lines(1, follow=False)]
    assert kept[0] is not None and len(kept[0].message) == MAX_CHARACTERS


async def test_log_has_no_credentials_of_addresses(tmp_path: Path) -> None:
    logs = Logs(tmp_path / "daemon.log")
    message = "GET https://user:s3cret@hub.test/x then https://cdn.test/b?Signature=s3cret"
    record = logging.LogRecord("lmx.pulls", logging.INFO, "", 0, message, None, None)
    logs.emit(record)
    logs._file.close()
    kept = [each async for each in logs.lines(1, follow=False)]
    assert kept[0] is not None and "s3cret" not in kept[0].message + OneLine(FORM).format(record)

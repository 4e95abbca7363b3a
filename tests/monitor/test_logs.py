"""Tests of the log: bounded lines, JSON in the file, levels by part, rotation, the terminal."""

import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lmx_daemon.contract.admin.snapshot import LogLine, RequestRow
from lmx_daemon.contract.generation.requests import Generate, Text
from lmx_daemon.monitor.console import MAX_WAITING, Console
from lmx_daemon.monitor.log_levels import part_of
from lmx_daemon.monitor.logs import MAX_CHARACTERS, Logs, log
from lmx_daemon.monitor.request_log import RequestLog
from lmx_daemon.settings.schema import Settings
from lmx_daemon.settings.sections.logs import LogSettings
from lmx_daemon.settings.source import SettingsSource


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """Yield the path of a log file, and restore the loggers."""
    loggers = [logging.getLogger(name) for name in ("lmx", "uvicorn.error")]
    before = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    yield tmp_path / "daemon.log"
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


def installed(file: Path, settings: LogSettings | None = None, console: Console | None = None) -> Logs:
    logs = Logs(file, settings, console)
    logs.install()
    return logs


def written(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


async def test_line_of_any_record_is_bounded(file: Path) -> None:
    logs = installed(file)
    log("pool", "error", "begin " + "\x1b" * 1_000_000 + " end")
    logs.close()
    (line,) = written(file)
    assert len(line["message"]) == MAX_CHARACTERS and "begin" in line["message"] and line["message"].endswith(" end")
    kept = [each async for each in logs.lines(1, follow=False)]
    assert kept[0] is not None and kept[0].message == line["message"]


async def test_log_has_no_credentials_of_addresses(file: Path) -> None:
    logs = installed(file)
    log("pulls", "info", "GET https://user:s3cret@hub.test/x then https://cdn.test/b?Signature=s3cret")
    try:
        raise ValueError("https://user:s3cret@hub.test")
    except ValueError:
        logging.getLogger("lmx.pulls").exception("failed")
    logs.close()
    kept = [each async for each in logs.lines(2, follow=False)]
    assert "s3cret" not in file.read_text() and "s3cret" not in str(kept)
    assert "ValueError" in written(file)[1]["data"]["traceback"]


def test_a_line_of_the_file_is_an_object_with_its_time_first(file: Path) -> None:
    logs = installed(file)
    log("worker org/m-1.5", "warning", "slow", "r1", {"tokens": 5})
    logs.close()
    (line,) = written(file)
    assert file.read_text().startswith('{"time":"20')
    assert (line["level"], line["source"], line["message"], line["request"], line["data"]) == (
        "warning", "worker org/m-1.5", "[r1] slow", "r1", {"tokens": 5},
    )  # fmt: skip


def test_control_characters_are_escaped_in_every_field(file: Path) -> None:
    logs = installed(file)
    log("worker x\x1b[2J", "info", 'a\nb\u202e"} {')
    log("http", "info", "x", "r\x9b", {"client": "\x9b2J\u2028", "route": "https://user:s3cret@x"})
    logs.close()
    assert all(each.isprintable() for each in file.read_text().split("\n")) and "s3cret" not in file.read_text()
    (line, _) = written(file)
    assert line["source"] == "worker x\\x1b[2J" and line["message"] == 'a\\nb\\u202e"} {'


def test_levels_are_set_by_part_and_changed_while_the_daemon_runs(file: Path) -> None:
    source = SettingsSource(Settings(logs=LogSettings(level="warning", levels={"worker": "debug"})))
    logs = installed(file, source.current.logs)
    source.subscribe(lambda _, new: logs.configure(new.logs))

    def messages() -> list[str]:
        before = len(written(file))
        for part in ("http", "worker org/m-1.5", "pulls"):
            for level in ("debug", "warning"):
                log(part, level, f"{part} {level}")
        return [line["message"] for line in written(file)[before:]]

    assert messages() == ["http warning", "worker org/m-1.5 debug", "worker org/m-1.5 warning", "pulls warning"]
    source.replace(Settings(logs=LogSettings(level="error", levels={"http": "debug"})))
    assert messages() == ["http debug", "http warning"]
    logs.close()


@pytest.mark.parametrize(
    ("logger", "part"),
    [("lmx", "daemon"), ("lmx.worker org/m-1.5", "worker"), ("lmx.http", "http"), ("uvicorn.error", "uvicorn")],
)
def test_the_part_of_a_logger(logger: str, part: str) -> None:
    assert part_of(logger) == part


def test_a_new_file_is_begun_at_its_size_and_earlier_ones_are_bounded(file: Path) -> None:
    logs = installed(file, LogSettings(file_bytes=64 * 1024, files=2))
    for number in range(3000):
        log("daemon", "info", f"{number} {'x' * 60}")
    logs.close()
    files = sorted(each.name for each in file.parent.iterdir())
    assert files == ["daemon.log", "daemon.log.1", "daemon.log.2"]
    assert all(each.stat().st_size <= 64 * 1024 for each in file.parent.iterdir())
    assert written(file)[-1]["message"].startswith("2999 ")


def test_the_line_of_a_request_has_its_figures(file: Path) -> None:
    logs = installed(file)
    row = RequestRow(
        id="r", model="m", state="finished", prompt_tokens=3, completion_tokens=2, age=1.5, first_token=0.5
    )
    RequestLog().ended(Generate(id="r", model="m", prompt=Text(text="secret words")), row)
    logs.close()
    (line,) = written(file)
    assert line["data"] == {
        "model": "m", "outcome": "finished", "seconds": 1.5, "first_token": 0.5, "prompt_tokens": 3,
        "completion_tokens": 2,
    }  # fmt: skip
    assert "secret words" not in file.read_text()


def test_the_terminal_gets_readable_lines(file: Path) -> None:
    reader, writer = os.pipe()
    logs = installed(file, console=Console(writer))
    log("http", "warning", "careful")
    logs.close()
    os.close(writer)
    with open(reader) as opened:
        assert opened.read().endswith(" warning http: careful\n")


def test_a_paused_terminal_does_not_block_the_log(file: Path) -> None:
    reader, writer = os.pipe()
    console = Console(writer)
    line = LogLine(at=time.time(), level="info", source="daemon", message="x" * 4000)
    for _ in range(2 * MAX_WAITING):  # far more than a pipe holds
        console.write(line)
    console.close()
    os.close(reader)  # ends the write of the thread
    os.close(writer)

"""Tests of the reader of log files: order, filters, foreign lines, and files that are begun while they are followed."""

import json
import threading
import time
from pathlib import Path

import pytest

from lmx_cli.log_files import LogFilter, decoded, lines_of
from lmx_daemon.contract.admin.snapshot import LogLine
from lmx_daemon.contract.errors import RequestError


def line(message: str, **fields: object) -> str:
    return json.dumps({"at": 1.0, "level": "info", "source": "http", "message": message, **fields}) + "\n"


def messages(file: Path) -> list[str]:
    return [each.message for each in lines_of(file, follow=False) if each is not None]


def test_files_are_read_oldest_first(tmp_path: Path) -> None:
    file = tmp_path / "daemon.log"
    assert messages(file) == []
    file.write_text(line("d"))
    for suffix, text in ((".1", "c"), (".2", "b"), (".10", "a")):
        file.with_name(f"daemon.log{suffix}").write_text(line(text))
    file.with_name("daemon.log.bak").write_text(line("other"))
    assert messages(file) == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        (LogFilter(level="warning"), ["w", "e"]),
        (LogFilter(grep="^[WI]$"), ["i", "w"]),
        (LogFilter(model="org/m"), ["w"]),
        (LogFilter(model="code"), ["i"]),
        (LogFilter(request="ab"), ["e"]),
    ],
)
def test_lines_are_filtered(conditions: LogFilter, expected: list[str]) -> None:
    found = [
        LogLine(at=1.0, level="info", source="http", message="i", data={"asked": "code"}),
        LogLine(at=1.0, level="warning", source="worker org/m", message="w"),
        LogLine(at=1.0, level="error", source="http", message="e", request="abc"),
    ]
    assert [each.message for each in filter(conditions.keep(), found)] == expected


def test_a_wrong_expression_is_refused() -> None:
    with pytest.raises(RequestError, match="not a regular expression"):
        LogFilter(grep="(").keep()


@pytest.mark.parametrize("data", [b"2026-01-01 INFO lmx plain\n", b'{"at": "x"}\n', b"\xff\xfe\n", b"null\n"])
def test_a_line_of_another_form_is_shown_as_it_is(data: bytes) -> None:
    found = decoded(data)
    assert found.at == 0.0 and found.message == data.decode(errors="replace").rstrip("\n")


def test_new_lines_are_followed_into_a_new_file(tmp_path: Path) -> None:
    file = tmp_path / "daemon.log"
    file.write_text(line("a"))
    found = lines_of(file, follow=True)
    assert [next(found), next(found)][1] is None

    def write() -> None:
        with file.open("a") as opened:
            opened.write(line("b")[:10])
            opened.flush()
            time.sleep(0.3)
            opened.write(line("b")[10:])
        file.rename(tmp_path / "daemon.log.1")
        file.write_text(line("c"))

    thread = threading.Thread(target=write)
    thread.start()
    new = [each for each in (next(found), next(found)) if each is not None]
    assert [each.message for each in new] == ["b", "c"]
    thread.join()
    found.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "data", [line("m", at=1e300), line("m", at=-1e300), line("m").replace('"m"', '"m", "data": {"a": ' + "[" * 5000)]
)
def test_line_that_cannot_be_shown_is_the_message_itself(data: str) -> None:
    found = decoded(data.encode())
    assert (found.at, found.source, found.message) == (0.0, "", data.rstrip())

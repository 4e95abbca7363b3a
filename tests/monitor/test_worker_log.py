"""Tests of the file with the output of workers: its size is bounded, and write errors do not stop a worker."""

import asyncio
import os
from pathlib import Path

import pytest

from lmx_daemon.contract.errors import StartupError
from lmx_daemon.monitor.worker_log import LAST_BYTES, WorkerLog, WorkerOutput


async def printed(output: WorkerOutput, text: bytes) -> None:
    """Print `text` as a process does, and give the loop its turn to notice."""
    os.write(output.sink, text)
    await asyncio.sleep(0.05)


async def test_output_is_kept_up_to_twice_the_maximum_size(tmp_path: Path) -> None:
    file = tmp_path / "workers.log"
    with WorkerLog(file, file_bytes=1000) as log:
        output = log.open()
        for number in range(10):
            await printed(output, f"{number}".encode() * 300)
    assert file.read_bytes() == b"9" * 300
    assert (tmp_path / "workers.log.1").read_bytes() == b"6" * 300 + b"7" * 300 + b"8" * 300
    assert len(list(tmp_path.iterdir())) == 2


async def test_a_failed_rotation_is_tried_again(tmp_path: Path) -> None:
    file, in_the_way = tmp_path / "workers.log", tmp_path / "workers.log.1"
    in_the_way.mkdir()
    with WorkerLog(file, file_bytes=1000) as log:
        output = log.open()
        for letter in b"abc":
            await printed(output, bytes([letter]) * 600)
        in_the_way.rmdir()
        await printed(output, b"d" * 600)
    assert file.read_bytes() == b"d" * 600
    assert in_the_way.read_bytes() == b"a" * 600


async def test_the_last_output_is_written_at_the_end_and_a_second_run_appends(tmp_path: Path) -> None:
    file = tmp_path / "workers.log"
    for word in (b"first\n", b"second\n"):
        with WorkerLog(file) as log:
            os.write(log.open().sink, word)
    assert file.read_bytes() == b"first\nsecond\n"


async def test_an_unwritable_file_is_an_error_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="cannot write"):
        WorkerLog(tmp_path).__enter__()


async def test_control_characters_of_the_output_are_escaped(tmp_path: Path) -> None:
    file = tmp_path / "workers.log"
    with WorkerLog(file) as log:
        await printed(log.open(), "caf\u00e9 \x1b[2J\u009b1m\u202e\tok\n".encode() + b"\xff\n")
    assert file.read_text() == "caf\u00e9 \\x1b[2J\\x9b1m\\u202e\tok\n\\xff\n"


async def test_the_last_output_of_each_process_is_separate_and_bounded(tmp_path: Path) -> None:
    with WorkerLog(tmp_path / "workers.log") as log:
        first, second = log.open(), log.open()
        await printed(first, b"a" * 3 * LAST_BYTES)
        await printed(second, b"second")
        os.write(first.sink, b"the end")  # not noticed by the loop yet
        assert first.last_words() == "a" * (LAST_BYTES - 7) + "the end"
        assert second.last_words() == "second"


async def test_a_pipe_is_closed_when_its_process_ends(tmp_path: Path) -> None:
    with WorkerLog(tmp_path / "workers.log") as log:
        before = len(os.listdir("/dev/fd"))
        output = log.open()
        os.write(output.sink, b"bye")
        output.started()
        await asyncio.sleep(0.05)
        assert len(os.listdir("/dev/fd")) == before and output.last_words() == "bye"

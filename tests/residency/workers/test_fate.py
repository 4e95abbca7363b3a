"""Tests of the reason for a worker's end, from its exit code and from its last output."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from lmx_daemon.contract.errors import OutOfMemoryError
from lmx_daemon.contract.worker.messages import LAST_WORDS
from lmx_daemon.monitor.worker_log import WorkerLog
from lmx_daemon.residency.workers import worker
from lmx_daemon.residency.workers.fate import fate_of

METAL = (
    "libc++abi: terminating due to uncaught exception of type std::runtime_error: [METAL] Command buffer execution "
    "failed: Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)\n"
)
SCRIPTED = f"import os, sys; sys.stderr.write('loading\\n' + {METAL!r}); sys.stderr.flush(); os.abort()"
"""Program that ends like MLX when Metal has no memory left."""


def test_an_abort_by_a_shortage_of_gpu_memory_is_not_a_crash() -> None:
    error = fate_of(-signal.SIGABRT, f"something\n{METAL}")
    assert isinstance(error, OutOfMemoryError)
    assert error.message.startswith("out of GPU memory: [METAL] Command buffer execution failed: Insufficient Memory")
    assert fate_of(-signal.SIGABRT, "assertion failed").code == "worker_failed"
    assert fate_of(-signal.SIGKILL, METAL).code == "worker_failed", (
        "METAL is then the output of an earlier error, which the process survived"
    )


def test_an_oom_kill_is_not_a_crash() -> None:
    assert isinstance(fate_of(-signal.SIGKILL, "", oom_killed=True), OutOfMemoryError)
    assert fate_of(-signal.SIGKILL, "").message == "the model's process was ended by SIGKILL"
    assert fate_of(-signal.SIGSEGV, "", oom_killed=True).code == "worker_failed"


@pytest.mark.parametrize(("own", "code"), [(False, "out_of_memory"), (True, "worker_failed")])
async def test_a_kill_by_the_daemon_is_not_reported_as_an_oom_kill(tmp_path: Path, own: bool, code: str) -> None:
    with WorkerLog(tmp_path / "workers.log") as log:
        started = await worker.Worker.start(
            "m",
            (sys.executable, "-c", "import time; time.sleep(60)"),
            {},
            log.open,
            lambda name, line: None,
            oom_killed=lambda: True,
        )
        if own:
            started.kill(signal.SIGKILL)
        else:
            os.kill(started.pid, signal.SIGKILL)
        error = await asyncio.wait_for(started.ended, 30)
    assert error.code == code


def test_the_reason_that_a_worker_printed_is_in_the_error() -> None:
    error = fate_of(4, f"Traceback ...\n{LAST_WORDS}old\n{LAST_WORDS}the prompts thread ended: X: y\n")
    assert error.message == "the model's process failed: the prompts thread ended: X: y"


def test_an_end_without_a_reason_has_its_signal_or_exit_code() -> None:
    assert fate_of(-signal.SIGSEGV, "").message == "the model's process was ended by SIGSEGV"
    assert fate_of(-42, "").message == "the model's process was ended by signal 42"
    assert fate_of(0, "").message == "the model's process was ended from outside (exit code 0)"
    assert fate_of(1, "").message == "the model's process ended with exit code 1"


async def test_a_process_that_prints_metals_error_and_aborts_is_out_of_memory(tmp_path: Path) -> None:
    with WorkerLog(tmp_path / "workers.log") as log:
        started = await worker.Worker.start(
            "m", (sys.executable, "-c", SCRIPTED), {}, log.open, lambda name, line: None
        )
        error = await asyncio.wait_for(started.ended, 30)
    assert isinstance(error, OutOfMemoryError) and "Insufficient Memory" in error.message
    assert "[METAL]" in (tmp_path / "workers.log").read_text()


async def test_messages_that_break_the_protocol_end_the_worker(tmp_path: Path) -> None:
    endless = "import os, time; os.write(0, bytes(8)); time.sleep(60)"
    with WorkerLog(tmp_path / "workers.log") as log:
        started = await worker.Worker.start("m", (sys.executable, "-c", endless), {}, log.open, lambda name, line: None)
        error = await asyncio.wait_for(started.ended, 30)
    assert "broken message" in error.message

"""Jumps of the system clock during a stream: requests are served, no worker counts as hung, no model is unloaded.

A `sitecustomize` module in the daemon's environment shifts `time.time`.
"""

import os
import time
from pathlib import Path

import httpx2
import pytest

from tests.end_to_end.running import Daemon, incidents_of, wait_for_inspection, wait_until
from tests.soak.conftest import SECOND, TALKER
from tests.soak.streams import Stream

pytestmark = pytest.mark.slow
HOUR, YEAR = 3600, 365 * 86_400
SHIFT = """
import time
from pathlib import Path
_real, _shift = time.time, Path(__file__).with_name("shift")
time.time = lambda: _real() + float(_shift.read_text())
"""


def test_streams_and_chats_survive_jumps_of_the_clock(own_daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(SHIFT)
    shift = tmp_path / "shift"
    shift.write_text("0")
    own_daemon.environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    own_daemon.config = "[engine]\nhang_seconds = 4.0\nidle_seconds = 1800.0\n"
    daemon = own_daemon.start()
    body = {"model": SECOND, "messages": [{"role": "user", "content": "x"}], "max_tokens": 4}
    assert httpx2.post(f"{daemon.address}/v1/chat/completions", json=body, timeout=60).status_code == 200
    stream = Stream(daemon, TALKER)
    wait_until(lambda: stream.running, 60, "the stream runs")
    workers = daemon.worker_pids()
    assert len(workers) == 2
    for seconds in (HOUR, -HOUR, -YEAR, 10 * YEAR, -20 * YEAR, 0):
        temporary = tmp_path / "next"
        temporary.write_text(str(seconds))
        temporary.replace(shift)
        size = stream.size
        wait_for_inspection(daemon)
        answer = httpx2.post(f"{daemon.address}/v1/chat/completions", json=body, timeout=10)
        assert answer.status_code == 200
        assert abs(answer.json()["created"] - time.time() - seconds) < 60, "the daemon's clock has jumped"
        assert stream.outcome == "running" and stream.size > size
        assert daemon.get("/health") == (200, {"ok": True})
        assert daemon.lmx("ps").returncode == daemon.lmx("status").returncode == 0
    assert daemon.worker_pids() == workers
    assert incidents_of(daemon) == []
    assert '"level":"error"' not in (daemon.home / "logs" / "daemon.log").read_text()

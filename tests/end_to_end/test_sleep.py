"""The real daemon keeps the machine awake while it works, with a program in the place of the system's."""

import os
from pathlib import Path

import httpx2

from tests.end_to_end.running import Daemon, alive, wait_until
from tests.power.programs import HOLDS, lines_of, put_program

TALKER = "tests/talker"


def test_machine_is_kept_awake_during_a_stream_and_not_after_it(own_daemon: Daemon, tmp_path: Path) -> None:
    programs, calls = put_program(tmp_path, HOLDS)
    own_daemon.environment |= {"LMX_SERVER_PREVENT_SLEEP": "true", "PATH": f"{programs}:{os.environ['PATH']}"}
    daemon = own_daemon.start()
    body = {"model": TALKER, "prompt": "tell me a long story", "max_tokens": 100_000, "stream": True}
    with httpx2.stream("POST", f"{daemon.address}/v1/completions", json=body, timeout=60) as answer:
        for line in answer.iter_lines():
            if line and lines_of(calls):
                break
        process = int(lines_of(calls)[0].split()[0])
        assert alive(process)
    wait_until(lambda: not alive(process), 60, "the machine may sleep again")
    assert len(lines_of(calls)) <= 2  # one call, and perhaps the end of its utility


def test_nothing_is_started_where_the_setting_is_off(own_daemon: Daemon, tmp_path: Path) -> None:
    programs, calls = put_program(tmp_path, HOLDS)
    own_daemon.environment |= {"PATH": f"{programs}:{os.environ['PATH']}"}
    daemon = own_daemon.start()
    body = {"model": TALKER, "prompt": "hello", "max_tokens": 300}
    assert httpx2.post(f"{daemon.address}/v1/completions", json=body, timeout=120).status_code == 200
    assert daemon.stop() == 0
    assert not calls.exists()

"""Requests that schemathesis generates from the OpenAPI document of the real daemon, valid ones and wrong ones.

No answer has status 500, a status or media type that the document lacks, or a body that differs from its schema.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.end_to_end.running import Daemon

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
CONFIG = """\
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", 501, 502, 503, 504, 507, 529]
"""
"""Settings of schemathesis: the other statuses above 500 are deliberate, and have to be documented."""
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def managed() -> Iterator[Daemon]:
    """Yield a daemon whose public port allows management, so that those routes are reached, too."""
    running = Daemon(config="[server]\nmanage_over_tcp = true\n[engine]\nwarm_spare = false\n").start()
    yield running
    assert running.stop() == 0


def generated(daemon: Daemon, folder: Path, *options: str) -> None:
    """Send generated requests to every route. Fail with what schemathesis prints."""
    (folder / "schemathesis.toml").write_text(CONFIG)
    program = [sys.executable, "-m", "schemathesis.cli", "run", f"{daemon.address}/openapi.json"]
    environment = os.environ | {"SCHEMATHESIS_HOOKS": "tests.openapi_hooks", "PYTHONPATH": str(ROOT)}
    common = ["--checks", CHECKS, "--suppress-health-check", "all", "--request-timeout", "60", "--warnings", "off"]
    done = subprocess.run(
        [*program, *common, "--generation-database", "none", "--no-color", *options],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_status_of_a_pull_from_an_unreachable_hub_is_documented(managed: Daemon) -> None:
    body = {"model": "org/name", "stream": False}
    answer = httpx2.post(f"{managed.address}/api/pull", json=body, timeout=60)
    assert answer.status_code == 502, answer.text
    described = httpx2.get(f"{managed.address}/openapi.json").json()
    assert "502" in described["paths"]["/api/pull"]["post"]["responses"]


@pytest.mark.timeout(600)
def test_generated_requests_get_documented_answers(managed: Daemon, tmp_path: Path) -> None:
    generated(managed, tmp_path, "--phases", "fuzzing", "--max-examples", "3", "--seed", "1", "--no-shrink")


@pytest.mark.slow
def test_many_generated_requests_get_documented_answers(managed: Daemon, tmp_path: Path) -> None:
    generated(managed, tmp_path, "--phases", "coverage,fuzzing", "--max-examples", "30", "--continue-on-failure")

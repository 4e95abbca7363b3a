"""The router on the real daemon: two random models under aliases, with real workers."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.end_to_end.running import Daemon
from tests.models import build_cached_model

LARGE, TINY = "tests/large", "tests/tiny"
CONFIG = f"""
[router]
default = "code"

[router.aliases]
code = ["tests/missing", "{LARGE}"]
"claude-*" = "{TINY}"
"""
PROMPT = {"prompt": "Once", "max_tokens": 2, "temperature": 0}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    cache = tmp_path_factory.mktemp("cache")
    build_cached_model("llama", cache, LARGE, ends=False)
    build_cached_model("llama", cache, TINY, ends=False, num_hidden_layers=1)
    running = Daemon(environment={"HF_HUB_CACHE": str(cache)}, config=CONFIG).start()
    yield running
    assert running.stop() == 0


def post(daemon: Daemon, path: str, body: dict[str, Any]) -> tuple[int, str | None, Any]:
    """Return status, chosen model and body of an answer."""
    request = urllib.request.Request(
        daemon.address + path, json.dumps(body).encode(), {"content-type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, answer.headers["x-lmx-model"], json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, error.headers["x-lmx-model"], json.loads(error.read())


def test_names_lead_to_models_and_the_log_has_the_reason(daemon: Daemon) -> None:
    status, model, body = post(daemon, "/v1/completions", {"model": "code"} | PROMPT)
    assert (status, model, body["model"]) == (200, LARGE, "code")
    message = {"role": "user", "content": "Once"}
    body = {"model": "claude-haiku-4-5", "max_tokens": 2, "messages": [message]}
    status, model, body = post(daemon, "/v1/messages", body)
    assert (status, model, body["model"]) == (200, TINY, "claude-haiku-4-5")
    assert post(daemon, "/v1/completions", {"model": "default"} | PROMPT)[1] == LARGE
    assert post(daemon, "/v1/completions", {"model": "auto"} | PROMPT)[1] == LARGE, "the last one used"
    assert post(daemon, "/v1/completions", {"model": "tin"} | PROMPT)[1] == TINY
    log = (daemon.home / "logs" / "daemon.log").read_text()
    assert "asked for code (alias code; skipped tests/missing: not_installed)" in log
    assert "asked for claude-haiku-4-5 (pattern claude-*)" in log


def test_commands_take_the_names(daemon: Daemon) -> None:
    assert daemon.lmx("load", "code").returncode == 0
    assert any(each["model"] == LARGE for each in daemon.admin("GET", "/admin/instances"))
    assert daemon.lmx("unload", "code").returncode == 0
    assert all(each["model"] != LARGE for each in daemon.admin("GET", "/admin/instances"))
    assert daemon.get("/v1/models/code")[1]["id"] == LARGE


def test_unknown_name_gets_the_nearest_alias(daemon: Daemon) -> None:
    status, _, body = post(daemon, "/v1/completions", {"model": "coed"} | PROMPT)
    assert status == 404 and "similar names: code" in body["error"]["message"]

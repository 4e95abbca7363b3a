"""The router on the real daemon: two random models under aliases, with real workers."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from lmx_daemon.http.dialects.lmstudio.answers import V0Models, V1Models
from lmx_daemon.http.dialects.ollama.answers import OllamaTags
from lmx_daemon.http.dialects.openai_chat.answers import ModelListAnswer
from tests.end_to_end.running import Daemon
from tests.models import build_cached_model

LARGE, TINY = "tests/large", "tests/tiny"
CONFIG = f"""
[server]
manage_over_tcp = true

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


def test_lists_of_every_dialect_have_the_aliases(daemon: Daemon) -> None:
    lists = ("/v1/models", "/api/tags", "/api/v0/models", "/api/v1/models")
    for path, form in zip(lists, (ModelListAnswer, OllamaTags, V0Models, V1Models), strict=True):
        msgspec.convert(daemon.get(path)[1], form)  # closed forms: an unexpected field or value is an error
    models = {each["id"]: each for each in daemon.get("/v1/models")[1]["data"]}
    assert models["code"]["alias_of"] == LARGE and "alias_of" not in models[LARGE] and "claude-*" not in models
    one = daemon.get("/v1/models/code")[1]
    assert (one["id"], one["alias_of"]) == ("code", LARGE)
    tags = {each["name"]: each for each in daemon.get("/api/tags")[1]["models"]}
    assert tags["code"]["details"]["parent_model"] == LARGE and tags["code"]["digest"] == tags[LARGE]["digest"]
    old = {each["id"]: each for each in daemon.get("/api/v0/models")[1]["data"]}
    assert old["code"] | {"id": LARGE, "publisher": "tests"} == old[LARGE]
    new = {each["key"]: each for each in daemon.get("/api/v1/models")[1]["models"]}
    assert new["code"]["description"] == f"alias of {LARGE}" and set(new["code"]) == set(new[LARGE])


def test_unknown_name_gets_the_nearest_alias(daemon: Daemon) -> None:
    status, _, body = post(daemon, "/v1/completions", {"model": "coed"} | PROMPT)
    assert status == 404 and "similar names: code" in body["error"]["message"]


def test_alias_command_makes_a_name_and_removes_it_without_the_model(daemon: Daemon) -> None:
    assert daemon.lmx("alias", "set", "chat", "tests/missing", TINY).returncode == 0
    rows = json.loads(daemon.lmx("alias", "list", "--json").stdout)
    assert {row["name"]: row.get("source", "saved") for row in rows} == {
        "chat": "saved",
        "claude-*": "config",
        "code": "config",
    }
    assert post(daemon, "/v1/completions", {"model": "chat"} | PROMPT)[1] == TINY
    assert "alias of config.toml" in daemon.lmx("alias", "rm", "code").stderr
    assert daemon.lmx("alias", "rm", "chat").returncode == 0
    assert post(daemon, "/v1/completions", {"model": "chat"} | PROMPT)[0] == 404
    assert daemon.lmx("show", TINY).returncode == 0


def test_copy_of_ollama_makes_an_alias_and_delete_removes_it_without_the_model(daemon: Daemon) -> None:
    copy = {"source": "tests/tiny:latest", "destination": "mine:latest"}
    assert send(daemon, "POST", "/api/copy", copy) == 200
    assert post(daemon, "/v1/completions", {"model": "mine"} | PROMPT)[1] == TINY
    assert send(daemon, "POST", "/api/copy", copy | {"destination": LARGE}) == 409, "the id of a model"
    assert send(daemon, "POST", "/api/copy", copy | {"destination": "code"}) == 409, "an alias of config.toml"
    assert send(daemon, "POST", "/api/copy", copy | {"source": "tests/nothing"}) == 404
    assert send(daemon, "DELETE", "/api/delete", {"model": "code"}) == 409
    assert send(daemon, "DELETE", "/api/delete", {"model": "mine:latest"}) == 200
    assert send(daemon, "DELETE", "/api/delete", {"model": "mine:latest"}) == 404
    assert {each["name"] for each in daemon.get("/api/tags")[1]["models"]} >= {TINY, LARGE}


def send(daemon: Daemon, method: str, path: str, body: dict[str, Any]) -> int:
    """Return the status of a request."""
    return httpx2.request(method, daemon.address + path, json=body, timeout=60).status_code


def test_chat_takes_an_alias(daemon: Daemon) -> None:
    answered = daemon.lmx("chat", "code", "-p", "Once", "--max-tokens", "2")
    assert answered.returncode == 0, answered.stderr


def test_preset_command_makes_a_preset_that_requests_use(daemon: Daemon) -> None:
    made = daemon.lmx("preset", "set", "brief", f"model={TINY}", "max_tokens=3", "system=Be brief.", "sampling.seed=1")
    assert made.returncode == 0, made.stderr
    question = {"messages": [{"role": "user", "content": "Once"}]}
    status, model, body = post(daemon, "/v1/chat/completions", {"model": "preset:brief"} | question)
    assert (status, model, body["usage"]["completion_tokens"]) == (200, TINY, 3)
    plain = post(daemon, "/v1/chat/completions", {"model": TINY, "max_tokens": 2} | question)[2]["usage"]
    preset = {"model": TINY, "preset": "brief", "max_tokens": 2}
    usage = post(daemon, "/v1/chat/completions", preset | question)[2]["usage"]
    assert usage["completion_tokens"] == 2 and usage["prompt_tokens"] > plain["prompt_tokens"]
    values = daemon.admin("GET", f"/admin/names/defaults?model={TINY}&preset=brief")["values"]
    assert values["max_tokens"] == {"value": 3, "origin": "preset"} and values["top_p"]["origin"] in ("model", "lmx")
    shown = daemon.lmx("preset", "show", "brief").stdout
    assert "system = Be brief." in shown and "sampling.seed = 1" in shown
    assert "--yes" in daemon.lmx("preset", "rm", "brief").stderr
    assert daemon.lmx("preset", "rm", "brief", "--yes").returncode == 0
    assert post(daemon, "/v1/chat/completions", {"model": "preset:brief"} | question)[0] == 404


def test_presets_of_lm_studio_are_imported(daemon: Daemon, tmp_path: Path) -> None:
    fields = [{"key": "llm.prediction.temperature", "value": 0.5}, {"key": "llm.prediction.tools", "value": []}]
    fields.append({"key": "llm.prediction.llama.cpuThreads", "value": 2})
    file = tmp_path / "Short answers.preset.json"
    file.write_text(json.dumps({"name": "Short answers", "operation": {"fields": fields}}))
    done = daemon.lmx("preset", "import", str(file))
    assert done.returncode == 0, done.stderr
    assert "imported Short-answers: sampling" in done.stdout and "llama.cpuThreads" in done.stderr
    again = daemon.lmx("preset", "import", str(file))
    assert again.returncode == 1 and "--replace" in again.stderr
    listed = json.loads(daemon.lmx("preset", "list", "--json").stdout)
    assert [row["name"] for row in listed] == ["Short-answers"]

"""The unmodified Ollama client for Python against the real daemon."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import ollama
import pytest

from tests.end_to_end.running import Daemon
from tests.library.conftest import StandIn
from tests.library.conftest import hub as hub
from tests.library.conftest import hub_process as hub_process
from tests.models import build_model

GUIDE = "lmx/guide"
TALKER = "maker/talker"
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather for a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "City name"}},
            "required": ["city"],
        },
    },
}


@pytest.fixture(scope="module")
def managed(hub_process: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Return a daemon that uses the stand-in Hub and allows management on the public port."""
    folder = tmp_path_factory.mktemp("ollama")
    environment = {
        "HF_ENDPOINT": hub_process.endpoint,
        "HF_HUB_CACHE": str(folder / "cache"),
        "HF_HOME": str(folder / "home"),
    }
    running = Daemon(environment=environment, config="[server]\nmanage_over_tcp = true\n[library]\nreserve_bytes = 0\n")
    running.start()
    yield running
    assert running.stop() == 0


@pytest.fixture
def client(managed: Daemon) -> Iterator[ollama.Client]:
    with ollama.Client(host=managed.address) as client:
        yield client


def ask(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def post(daemon: Daemon, path: str, body: Any, **headers: str) -> tuple[int, Any]:
    request = urllib.request.Request(daemon.address + path, data=json.dumps(body).encode(), headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_chat_whole_and_streamed_are_the_same(client: ollama.Client) -> None:
    options = {"temperature": 0, "num_predict": 40}
    whole = client.chat(GUIDE, ask("How do I change the port?"), options=options)
    assert whole.done and whole.message.content and whole.eval_count and whole.total_duration
    parts = list(client.chat(GUIDE, ask("How do I change the port?"), options=options, stream=True))
    assert "".join(part.message.content or "" for part in parts) == whole.message.content
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1].prompt_eval_count == whole.prompt_eval_count


def test_tool_call_and_its_result(client: ollama.Client) -> None:
    question: list[Any] = ask("What is the weather in Paris?")
    call = client.chat(GUIDE, question, tools=[WEATHER], options={"temperature": 0}).message
    assert call.tool_calls and call.tool_calls[0].function.name == "get_weather"
    assert call.tool_calls[0].function.arguments == {"city": "Paris"}
    result = {"role": "tool", "tool_name": "get_weather", "content": '{"temperature": 21}'}
    answer = client.chat(GUIDE, [*question, call, result], tools=[WEATHER], options={"temperature": 0})
    assert answer.message.content and not answer.message.tool_calls


def test_generate_continues_with_its_context(client: ollama.Client) -> None:
    first = client.generate(GUIDE, "How do I change the port?", options={"temperature": 0, "num_predict": 30})
    assert first.response and first.context
    second = client.generate(GUIDE, "And how do I stop it?", context=first.context, options={"num_predict": 8})
    assert (second.prompt_eval_count or 0) > (first.prompt_eval_count or 0) + 20


def test_empty_prompt_loads_and_keep_alive_zero_unloads(client: ollama.Client, managed: Daemon) -> None:
    loaded = client.generate(GUIDE, keep_alive="5m")
    assert loaded.done_reason == "load"
    (running,) = client.ps().models
    assert running.model == GUIDE and running.context_length and running.size
    assert client.generate(GUIDE, keep_alive=0).done_reason == "unload"
    assert client.ps().models == []


def test_library_is_listed_and_described(client: ollama.Client) -> None:
    assert GUIDE in [model.model for model in client.list().models]
    shown = client.show(GUIDE)
    assert "tools" in (shown.capabilities or []) and shown.modelinfo and shown.template


def test_pull_and_delete(client: ollama.Client, hub: StandIn) -> None:
    build_model("llama", hub.root / TALKER, ends=False)
    updates = list(client.pull(TALKER, stream=True))
    assert updates[0].status == "pulling manifest" and updates[-1].status == "success"
    assert any(update.total and update.completed == update.total for update in updates)
    assert TALKER in [model.model for model in client.list().models]
    client.delete(TALKER)
    assert TALKER not in [model.model for model in client.list().models]
    with pytest.raises(ollama.ResponseError) as error:
        client.delete(TALKER)
    assert error.value.status_code == 404


def test_pull_of_an_unknown_repository_is_an_error(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError):
        client.pull("maker/absent")


@pytest.mark.parametrize(
    ("call", "status"),
    [
        (lambda client: client.chat("no/model", ask("hi")), 404),
        (lambda client: client.chat(GUIDE, ask("hi"), options={"temperature": 9}), 400),
        (lambda client: client.embed(GUIDE, "text"), 501),
        (lambda client: client.copy("no/model", "other"), 404),
        (lambda client: client.copy("other", GUIDE), 404),
    ],
)
def test_error_has_the_status_and_text_that_the_client_raises(client: ollama.Client, call: Any, status: int) -> None:
    with pytest.raises(ollama.ResponseError) as error:
        call(client)
    assert error.value.status_code == status and error.value.error


def test_copy_makes_an_alias_that_is_listed_and_deleted_without_its_model(client: ollama.Client) -> None:
    assert client.copy(GUIDE, "helper").status == "success"
    listed = {each.model: each for each in client.list().models}
    details = listed["helper"].details
    assert details is not None and details.parent_model == GUIDE
    assert client.chat("helper", ask("hi"), options={"num_predict": 1}).model == "helper"
    assert client.delete("helper").status == "success"
    left = {each.model for each in client.list().models}
    assert GUIDE in left and "helper" not in left


def test_clients_that_probe_the_root_find_ollama(managed: Daemon) -> None:
    for method in ("GET", "HEAD"):
        request = urllib.request.Request(managed.address + "/", method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200 and answer.read() == (b"Ollama is running" if method == "GET" else b"")


def test_json_without_its_content_type_is_accepted(managed: Daemon) -> None:
    body = {"model": GUIDE, "prompt": "Hi", "stream": False, "options": {"num_predict": 2}}
    status, answer = post(managed, "/api/generate", body, **{"Content-Type": "application/x-www-form-urlencoded"})
    assert status == 200 and answer["done"]


def test_management_is_refused_without_a_key_and_without_the_setting(daemon: Daemon) -> None:
    status, answer = post(daemon, "/api/pull", {"model": TALKER})
    assert status == 403 and "manage_over_tcp" in answer["error"]

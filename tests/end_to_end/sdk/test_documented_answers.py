"""Every route of LM Studio's and Ollama's APIs, whole and streamed, against schemas written from their documents."""

import json
import time
from typing import Any

import httpx2
import jsonschema
import pytest

from tests.documented_answers import check, check_v0
from tests.end_to_end.running import Daemon
from tests.end_to_end.sdk.test_ollama_sdk import GUIDE, TALKER, WEATHER, ask
from tests.end_to_end.sdk.test_ollama_sdk import managed as managed
from tests.library.conftest import StandIn
from tests.library.conftest import hub as hub
from tests.library.conftest import hub_process as hub_process
from tests.models import build_model

QUESTION = "How do I change the port?"
SHORT = {"temperature": 0, "num_predict": 8}


def call(daemon: Daemon, method: str, path: str, body: Any = None, status: int = 200) -> bytes:
    """Return the body of an answer, which has the given status."""
    answer = httpx2.request(method, daemon.address + path, json=body, timeout=120)
    assert answer.status_code == status, answer.text
    return answer.content


def data_of(stream: bytes) -> list[str]:
    """Return the data of the events of a stream."""
    return [line.removeprefix("data: ") for line in stream.decode().split("\n") if line.startswith("data: ")]


def lines_of(stream: bytes) -> list[bytes]:
    """Return the lines of a stream, without the white space that keeps the connection alive."""
    return [line for line in stream.splitlines() if line.strip()]


class TestLmStudio:
    def test_models_before_and_after_a_load(self, managed: Daemon) -> None:
        check("lmstudio", "greeting", call(managed, "GET", "/lmstudio-greeting"))
        for _ in ("not loaded", "loaded"):
            check("lmstudio", "v0_models", call(managed, "GET", "/api/v0/models"))
            check("lmstudio", "v0_model", call(managed, "GET", f"/api/v0/models/{GUIDE}"))
            check("lmstudio", "v1_models", call(managed, "GET", "/api/v1/models"))
            asked = {"model": GUIDE, "echo_load_config": True}
            loaded = check("lmstudio", "v1_loaded", call(managed, "POST", "/api/v1/models/load", asked))
        instance = {"instance_id": loaded["instance_id"]}
        check("lmstudio", "v1_unloaded", call(managed, "POST", "/api/v1/models/unload", instance))

    def test_chat_with_a_load(self, managed: Daemon) -> None:
        asked = {"model": GUIDE, "input": QUESTION, "temperature": 0, "max_output_tokens": 8}
        stream = data_of(call(managed, "POST", "/api/v1/chat", asked | {"stream": True}))
        kinds = [check("lmstudio", "v1_chat_event", event)["type"] for event in stream]
        assert kinds[0] == "chat.start" and kinds[-1] == "chat.end" and "message.delta" in kinds
        check("lmstudio", "v1_chat", call(managed, "POST", "/api/v1/chat", asked))
        check("lmstudio", "v1_chat", call(managed, "POST", "/api/v1/chat", asked | {"store": False}))

    @pytest.mark.parametrize(
        ("path", "kind", "prompt"),
        [
            ("chat/completions", "chat_completion", {"messages": ask(QUESTION)}),
            ("completions", "completion", {"prompt": QUESTION}),
        ],
    )
    def test_v0_answers_are_those_of_openai_with_statistics(
        self, managed: Daemon, path: str, kind: str, prompt: Any
    ) -> None:
        asked = {"model": GUIDE, "temperature": 0, "max_tokens": 8} | prompt
        check_v0(kind, call(managed, "POST", f"/api/v0/{path}", asked))
        *chunks, last, done = data_of(call(managed, "POST", f"/api/v0/{path}", asked | {"stream": True}))
        assert done == "[DONE]" and chunks
        check_v0(f"{kind}_chunk", last)

    def test_downloads(self, managed: Daemon, hub: StandIn) -> None:
        build_model("llama", hub.root / "maker/fetched", ends=False)
        path, asked = "/api/v1/models/download", {"model": "maker/fetched"}
        job = check("lmstudio", "v1_download", call(managed, "POST", path, asked))["job_id"]
        deadline = time.monotonic() + 60
        while True:
            found = check("lmstudio", "v1_download_status", call(managed, "GET", f"{path}/status/{job}"))
            if found["status"] == "completed" or time.monotonic() > deadline:
                break
            time.sleep(0.05)
        assert found["downloaded_bytes"] == found["total_size_bytes"]
        installed = check("lmstudio", "v1_download", call(managed, "POST", path, asked))
        assert installed == {"status": "already_downloaded"}

    @pytest.mark.parametrize(
        ("method", "path", "body", "status"),
        [
            ("POST", "/api/v1/chat", {"model": "no/model", "input": "x"}, 404),
            ("POST", "/api/v1/chat", {"model": GUIDE}, 400),
            ("POST", "/api/v1/models/load", {"model": "no/model"}, 404),
            ("POST", "/api/v1/models/unload", {"instance_id": "no/model"}, 404),
            ("GET", "/api/v1/models/download/status/none", None, 404),
        ],
    )
    def test_errors(self, managed: Daemon, method: str, path: str, body: Any, status: int) -> None:
        check("lmstudio", "error", call(managed, method, path, body, status))

    def test_unknown_routes(self, managed: Daemon) -> None:
        check("lmstudio", "unknown_route", call(managed, "GET", "/api/v1/nothing", None, 404))


class TestOllama:
    def test_models_before_and_after_a_load(self, managed: Daemon) -> None:
        check("ollama", "version", call(managed, "GET", "/api/version"))
        check("ollama", "status", call(managed, "GET", "/api/status"))
        named = {"model": GUIDE}
        check("ollama", "chat_without_messages", call(managed, "POST", "/api/chat", named | {"messages": []}))
        assert check("ollama", "ps", call(managed, "GET", "/api/ps"))["models"]
        check("ollama", "tags", call(managed, "GET", "/api/tags"))
        check("ollama", "show", call(managed, "POST", "/api/show", named))
        unload = named | {"keep_alive": 0}
        check("ollama", "generate_without_prompt", call(managed, "POST", "/api/generate", unload))
        check("ollama", "ps", call(managed, "GET", "/api/ps"))

    @pytest.mark.parametrize(
        ("kind", "fields"),
        [
            ("chat", {"messages": ask(QUESTION), "options": SHORT}),
            ("chat", {"messages": ask(QUESTION), "options": SHORT, "logprobs": True, "top_logprobs": 2}),
            ("chat", {"messages": ask("What is the weather in Paris?"), "tools": [WEATHER]}),
            ("generate", {"prompt": QUESTION, "options": SHORT}),
            ("generate", {"prompt": QUESTION, "options": SHORT, "raw": True, "logprobs": True}),
        ],
    )
    def test_answers_whole_and_streamed(self, managed: Daemon, kind: str, fields: Any) -> None:
        asked = {"model": GUIDE} | fields
        check("ollama", kind, call(managed, "POST", f"/api/{kind}", asked | {"stream": False}))
        lines = [check("ollama", kind, line) for line in lines_of(call(managed, "POST", f"/api/{kind}", asked))]
        assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]

    def test_pulls(self, managed: Daemon, hub: StandIn) -> None:
        build_model("llama", hub.root / TALKER, ends=False)
        lines = lines_of(call(managed, "POST", "/api/pull", {"model": TALKER}))
        assert [check("ollama", "pull", line)["status"] for line in lines][-1] == "success"
        check("ollama", "pull", call(managed, "POST", "/api/pull", {"model": TALKER, "stream": False}))
        call(managed, "POST", "/api/copy", {"source": GUIDE, "destination": "second"})
        tags = check("ollama", "tags", call(managed, "GET", "/api/tags"))
        assert {TALKER, "second"} <= {each["model"] for each in tags["models"]}
        assert call(managed, "DELETE", "/api/delete", {"model": "second"}) == b""

    @pytest.mark.parametrize(
        ("path", "body", "status"),
        [
            ("chat", {"model": "no/model", "messages": ask("x")}, 404),
            ("generate", {"model": GUIDE, "prompt": 5}, 400),
            ("show", {"model": "no/model"}, 404),
            ("embed", {"model": GUIDE, "input": "x"}, 501),
            ("nothing", {}, 404),
        ],
    )
    def test_errors(self, managed: Daemon, path: str, body: Any, status: int) -> None:
        check("ollama", "error", call(managed, "POST", f"/api/{path}", body, status))


def test_answer_with_one_fault_is_refused() -> None:
    """Keep the schemas closed: an answer with a further field, or without one, is not valid."""
    valid = {"type": "llm", "instance_id": "m", "load_time_seconds": 0.1, "status": "loaded"}
    check("lmstudio", "v1_loaded", json.dumps(valid))
    for fault in (valid | {"extra": 1}, valid | {"status": "ready"}, {"type": "llm", "status": "loaded"}):
        with pytest.raises(jsonschema.ValidationError):
            check("lmstudio", "v1_loaded", json.dumps(fault))

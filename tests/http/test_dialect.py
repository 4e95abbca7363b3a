"""Dialects: ownership of paths, and a dialect of JSON lines that the real app serves beside the others."""

import asyncio
import json
from typing import Any

import pytest

from lmx_daemon.contract.errors import (
    BusyError,
    EngineMissingError,
    LmxError,
    ModelLoadError,
    OutOfMemoryError,
    WorkerError,
)
from lmx_daemon.contract.generation.events import (
    Delta,
    Ending,
    Event,
    Failed,
    Finished,
    Loading,
    Prefill,
    Queued,
    Started,
)
from lmx_daemon.http import serving
from lmx_daemon.http.dialect import Dialects, is_below
from lmx_daemon.http.dialects.native.dialect import Native
from lmx_daemon.http.dialects.openai_chat.dialect import OpenAIChat
from lmx_daemon.http.dialects.registry import public_dialects
from lmx_daemon.residency.requests.active_request import ActiveRequest
from tests.http.asgi import FakePool, Script, ask, public_app_over
from tests.http.ndjson import NdJson

STARTED = Started(id="r", prompt_tokens=3, cached_tokens=0, seed=1)
HELLO = Delta(id="r", content="Hello", tokens=1)
FINISHED = Finished(id="r", endings=(Ending(reason="stop"),))
FAILED = Failed(id="r", error=WorkerError("it crashed").body())
BODY = {"model": "m", "prompt": "x"}


def app_of(script: Script, **settings: Any) -> Any:
    dialects = Dialects([OpenAIChat(), NdJson(), Native()])
    return public_app_over(FakePool(script), dialects, **settings)


def answering(*events: Event) -> Script:
    return lambda active: events


class TestOwner:
    @pytest.mark.parametrize(
        ("path", "name"),
        [
            ("/v1/models", "openai_chat"),
            ("/v1", "openai_chat"),
            ("/v1beta/models", "native"),
            ("/health", "native"),
            ("/", "native"),
            ("", "native"),
            ("/api/v9/things", "native"),
        ],
    )
    def test_path_belongs_to_the_dialect_with_its_prefix(self, path: str, name: str) -> None:
        assert public_dialects().owner(path).name == name

    def test_longer_prefix_wins_over_a_shorter_one(self) -> None:
        inner = NdJson()
        inner.prefixes = ("/v1/messages",)  # type: ignore[assignment]
        dialects = Dialects([OpenAIChat(), inner, Native()])
        assert dialects.owner("/v1/messages/count").name == "ndjson"
        assert dialects.owner("/v1/messages2").name == "openai_chat"

    def test_every_route_lies_below_a_prefix_of_its_own_dialect(self) -> None:
        dialects = public_dialects()
        for dialect in dialects.all:
            for route in dialect.routes:
                assert all(dialects.owner(path) is dialect for path in route.paths), route
                assert any(is_below(path, prefix) for path in route.paths for prefix in dialect.prefixes)


class TestStream:
    async def test_events_are_lines_of_the_dialects_media_type(self) -> None:
        answer = await ask(app_of(answering(STARTED, HELLO, HELLO, FINISHED)), "POST", "/api/generate", BODY)
        assert answer.status == 200 and answer.headers["content-type"] == "application/x-ndjson"
        lines = [json.loads(line) for line in answer.body.splitlines()]
        assert [line["response"] for line in lines] == ["Hello", "Hello", ""] and lines[-1]["done_reason"] == "stop"

    async def test_whole_answer_is_one_object(self) -> None:
        app = app_of(answering(STARTED, HELLO, HELLO, FINISHED))
        answer = await ask(app, "POST", "/api/generate", BODY | {"stream": False})
        assert answer.headers["content-type"] == "application/json"
        assert answer.json() == {"model": "m", "response": "HelloHello", "done": True}

    async def test_silent_stream_gets_progress_and_keep_alive_bytes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(serving, "OPENING_SECONDS", 0.0)
        monkeypatch.setattr(serving, "KEEP_ALIVE_SECONDS", 0.01)
        monkeypatch.setattr(serving, "PREFILL_SECONDS", 0.0)
        later: list[Event] = [
            Loading(id="r", model="m", stage="weights"),
            Queued(id="r", position=2),
            Prefill(id="r", done=1, total=9),
            HELLO,
            FINISHED,
        ]

        def script(active: ActiveRequest) -> list[Event]:
            async def play() -> None:
                for event in later:
                    await asyncio.sleep(0.05)
                    active.put(event)

            tasks.append(asyncio.ensure_future(play()))
            return []

        tasks: list[asyncio.Future[None]] = []
        answer = await ask(app_of(script), "POST", "/api/generate", BODY)
        await tasks[0]
        silent = [part for part in answer.parts if part == b"\n"]
        spoken = [json.loads(part) for part in answer.parts if part.strip()]
        assert answer.parts[0] == b"\n" and len(silent) > 3
        assert spoken[:2] == [{"status": "loading weights"}, {"status": "queued 2"}]
        assert spoken[2]["response"] == "Hello" and spoken[-1]["done"]


class TestErrors:
    async def test_failure_before_the_first_byte_is_a_status_in_the_dialects_form(self) -> None:
        answer = await ask(app_of(answering(FAILED)), "POST", "/api/generate", BODY)
        assert answer.status == 500 and answer.json()["error"] == "it crashed"

    async def test_failure_in_a_stream_is_its_last_line(self) -> None:
        def script(active: ActiveRequest) -> list[Event]:
            asyncio.get_running_loop().call_later(0.05, active.put, FAILED)
            return [STARTED, HELLO]

        answer = await ask(app_of(script), "POST", "/api/generate", BODY)
        lines = answer.body.splitlines()
        assert answer.status == 200 and json.loads(lines[0])["response"] == "Hello"
        assert json.loads(lines[-1]) == {"error": "it crashed"}

    async def test_failure_of_a_whole_answer_is_a_status(self) -> None:
        app = app_of(answering(STARTED, HELLO, FAILED))
        answer = await ask(app, "POST", "/api/generate", BODY | {"stream": False})
        assert answer.status == 500 and answer.json()["error"] == "it crashed"

    async def test_error_that_is_raised_keeps_its_headers(self) -> None:
        def full(active: ActiveRequest) -> list[Event]:
            raise BusyError("the queue is full", retry_after=7.0)

        answer = await ask(app_of(full), "POST", "/api/generate", BODY)
        assert (answer.status, answer.headers["retry-after"]) == (429, "7")
        assert answer.json()["error"] == "the queue is full"

    @pytest.mark.parametrize(
        ("error", "retried"),
        [
            (ModelLoadError("a tensor is missing"), False),
            (EngineMissingError("MLX is not installed"), False),
            (OutOfMemoryError("it does not fit"), False),
            (OutOfMemoryError("it ran out of memory", retry_after=9.0), True),
            (WorkerError("it crashed"), True),
        ],
    )
    async def test_error_that_the_same_request_gets_again_is_not_retried(self, error: LmxError, retried: bool) -> None:
        answer = await ask(app_of(answering(Failed(id="r", error=error.body()))), "POST", "/api/generate", BODY)
        assert answer.headers.get("x-should-retry") == (None if retried else "false")

    async def test_bad_body_and_unknown_route_have_the_dialects_form(self) -> None:
        app = app_of(answering())
        assert (await ask(app, "POST", "/api/generate", {"model": 5})).json()["error"].startswith("model")
        unknown = await ask(app, "GET", "/api/nothing")
        assert (unknown.status, unknown.json()["error"]) == (404, "no GET /api/nothing")
        assert (await ask(app, "POST", "/api/version", {})).json()["error"] == "no POST /api/version"

    async def test_error_contains_the_id_of_its_request(self) -> None:
        app = app_of(answering(FAILED), api_key="secret")
        for path, key in (("/api/generate", "secret"), ("/api/generate", "wrong"), ("/api/nothing", "secret")):
            answer = await ask(app, "POST", path, BODY, x_request_id="mine", x_api_key=key)
            assert answer.json()["request_id"] == answer.headers["x-request-id"] == "mine"
            assert answer.headers["request-id"] == "mine"

    @pytest.mark.parametrize(
        ("status", "headers"),
        [
            (401, {}),
            (403, {"origin": "https://evil.example"}),
            (421, {"host": "evil.example"}),
            (415, {"x_api_key": "secret", "content_type": "text/plain"}),
            (413, {"x_api_key": "secret", "content_length": "999"}),
        ],
    )
    async def test_refusal_of_the_guard_has_the_form_of_the_path(self, status: int, headers: dict[str, str]) -> None:
        app = app_of(answering(), api_key="secret", max_body_bytes=100)
        refused = await ask(app, "POST", "/api/generate", BODY, **headers)
        assert refused.status == status and isinstance(refused.json()["error"], str)
        openai = await ask(app, "POST", "/v1/chat/completions", BODY, **headers)
        assert openai.status == status and openai.json()["error"]["message"] == refused.json()["error"]

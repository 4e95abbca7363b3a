"""The form of the admin socket: each event is a JSON line, and errors are JSON objects."""

import json
from dataclasses import fields
from typing import Any

from lmx_daemon.contract.errors import BusyError, WorkerError
from lmx_daemon.contract.generation.events import Delta, Event, Failed, Started
from lmx_daemon.http.app import admin_app
from lmx_daemon.http.images.remote import RemoteImages
from lmx_daemon.http.parts import Parts
from lmx_daemon.http.server.body_reader import BodyReader
from lmx_daemon.http.service import ModelService
from lmx_daemon.residency.requests.active_request import ActiveRequest
from lmx_daemon.settings.schema import ServerSettings
from tests.http.asgi import FakeCatalog, FakePool, FakeRouter, Script, ask

BODY = {"type": "generate", "id": "r", "model": "m", "prompt": {"type": "text", "text": "x"}}
EVENTS: list[Event] = [
    Started(id="r", prompt_tokens=3, cached_tokens=0, seed=1),
    Delta(id="r", content="a", tokens=1),
    Failed(id="r", error=WorkerError("it crashed").body()),
]


def app_of(script: Script) -> Any:
    parts: dict[str, Any] = {field.name: None for field in fields(Parts)}
    pool, catalog, router, bodies = FakePool(script), FakeCatalog(), FakeRouter(), BodyReader(ServerSettings)
    service = ModelService(pool, catalog, router, bodies, RemoteImages(ServerSettings))  # type: ignore[arg-type]
    return admin_app(Parts(**parts | {"service": service, "pool": pool, "catalog": catalog, "bodies": bodies}))


async def test_events_are_lines_and_a_failure_is_the_last_of_them() -> None:
    answer = await ask(app_of(lambda active: EVENTS), "POST", "/admin/generate", BODY)
    assert answer.headers["content-type"] == "application/jsonl"
    lines = [json.loads(line) for line in answer.body.splitlines()]
    assert [line["type"] for line in lines] == ["started", "delta", "failed"]
    assert lines[-1] == {"type": "failed", "id": "r", "error": {"code": "worker_failed", "message": "it crashed"}}


async def test_refusal_before_the_stream_is_a_status() -> None:
    def full(active: ActiveRequest) -> list[Event]:
        raise BusyError("the queue is full", retry_after=7.0)

    answer = await ask(app_of(full), "POST", "/admin/generate", BODY)
    assert answer.status == 429
    assert answer.json() == {"code": "queue_full", "message": "the queue is full", "retry_after": 7.0}


async def test_unknown_route_and_other_protocol_are_errors_as_data() -> None:
    app = app_of(lambda active: [])
    unknown = await ask(app, "GET", "/v1/models")
    assert (unknown.status, unknown.json()["code"]) == (404, "not_found")
    other = await ask(app, "GET", "/admin/health", x_lmx_protocol="999")
    assert (other.status, other.json()["code"]) == (426, "protocol_mismatch") and "lmx stop" in other.json()["hint"]

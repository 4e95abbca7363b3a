"""A small dialect that streams JSON lines, as a check of the Dialect protocol."""

from collections.abc import Sequence
from typing import Any

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency

from lmx_daemon.contract.errors import LmxError
from lmx_daemon.contract.generation.events import Delta, Event, Finished, Loading, Prefill, Queued
from lmx_daemon.contract.generation.requests import Generate, Text
from lmx_daemon.http.context import AnyRequest, context_of
from lmx_daemon.http.dialect import ErrorResponse, ProgressEvent
from lmx_daemon.http.operation import Operation
from lmx_daemon.http.service import ModelService


class Body(msgspec.Struct, frozen=True):
    model: str
    prompt: str
    stream: bool = True


class Lines:
    """Encoder of one answer."""

    def __init__(self, model: str) -> None:
        self._model = model

    def stream(self, events: Sequence[Event]) -> bytes:
        return b"".join(self._line(event) for event in events)

    def failed(self, error: LmxError) -> bytes:
        return line({"error": error.message})

    def whole(self, events: Sequence[Event], choices: int) -> bytes:
        text = "".join(event.content for event in events if isinstance(event, Delta))
        return msgspec.json.encode({"model": self._model, "response": text, "done": True})

    def _line(self, event: Event) -> bytes:
        match event:
            case Delta(content=content):
                return line({"model": self._model, "response": content, "done": False})
            case Finished() as finished:
                return line({"model": self._model, "response": "", "done": True, "done_reason": finished.reason})
            case _:
                return b""


@post("/api/generate", status_code=200)
async def generate(request: AnyRequest, service: NamedDependency[ModelService]) -> Response[Any]:
    def translate(body: Body) -> Generate:
        return Generate(id=context_of(request).id, model=body.model, prompt=Text(text=body.prompt))

    body, translated = await service.read(request, Body, translate)
    return await service.answer(request, translated, lambda _: Lines(body.model), body.stream)


@get("/api/version")
async def version() -> dict[str, str]:
    return {"version": "0.0"}


class NdJson:
    """Implementation of the Dialect protocol."""

    name = "ndjson"
    prefixes = ("/api",)
    routes = (generate, version)
    stream_type = "application/x-ndjson"
    keep_alive = b"\n"
    any_body_type = False

    def operations(self) -> Sequence[Operation]:
        return ()

    def progress(self, event: ProgressEvent) -> bytes:
        match event:
            case Loading(stage=stage):
                return line({"status": f"loading {stage}"})
            case Queued(position=position):
                return line({"status": f"queued {position}"})
            case Prefill():
                return b""

    def error(self, error: LmxError, request_id: str) -> ErrorResponse:
        return ErrorResponse(error.status, line({"error": error.message, "request_id": request_id}))

    def no_route(self, method: str, path: str, request_id: str) -> ErrorResponse:
        return ErrorResponse(404, line({"error": f"no {method} {path}", "request_id": request_id}))


def line(value: Any) -> bytes:
    return msgspec.json.encode(value) + b"\n"

"""LM Studio's routes /api/v1: chat with stored answers, and models that are loaded, unloaded and downloaded."""

import time
import uuid
from collections.abc import Sequence
from typing import Any

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from lmx_daemon.contract.admin.library.pulls import Download
from lmx_daemon.contract.admin.protocol import LoadRequest
from lmx_daemon.contract.errors import ModelNotFoundError
from lmx_daemon.contract.generation.events import Event
from lmx_daemon.contract.generation.requests import Chat, Message, TextPart
from lmx_daemon.http.context import AnyRequest, context_of
from lmx_daemon.http.decoding import body_of
from lmx_daemon.http.dialects.lmstudio.bodies import (
    LmStudioChatBody,
    LmStudioDownloadBody,
    LmStudioLoadBody,
    LmStudioUnloadBody,
)
from lmx_daemon.http.dialects.lmstudio.encoder import LmStudioChatEncoder
from lmx_daemon.http.dialects.lmstudio.models import v1_alias, v1_entry
from lmx_daemon.http.dialects.lmstudio.requests import chat_request
from lmx_daemon.http.dialects.timestamps import timestamp
from lmx_daemon.http.management import Management
from lmx_daemon.http.service import Service
from lmx_daemon.http.stored_answers import StoredAnswers

DOWNLOAD_STATES = {"paused": "paused", "done": "completed", "failed": "failed", "cancelled": "failed"}
"""LM Studio's names of the states of a download; all others are "downloading"."""


@get("/lmstudio-greeting")
async def greeting() -> dict[str, bool]:
    """Return the greeting by which LM Studio's programs recognise a server."""
    return {"lmstudio": True}


@post("/api/v1/chat", status_code=200)
async def v1_chat(request: AnyRequest, service: Service, answers: NamedDependency[StoredAnswers]) -> Response[Any]:
    """Answer one input. With `store` the answer gets an id, which a later request can continue."""
    context = context_of(request)
    body, _ = await service.read(request, LmStudioChatBody, lambda body: body)
    earlier: Sequence[Message] = ()
    if body.previous_response_id is not None:
        earlier = await answers.conversation(request, body.previous_response_id, "previous_response_id")
    generate = await service.with_images(request, chat_request(body, context, earlier))
    response_id = f"resp_{uuid.uuid4().hex}" if body.store else None
    encoder = LmStudioChatEncoder(body.model, response_id)

    async def keep(events: Sequence[Event]) -> None:
        if response_id is not None and isinstance(generate.prompt, Chat):
            result = encoder.result(events)
            text = "".join(part["content"] for part in result["output"] if part["type"] == "message")
            turn = Message(role="assistant", content=(TextPart(text=text),))
            conversation = (*generate.prompt.messages, turn)
            if not await answers.keep(request, response_id, conversation, msgspec.json.encode(result)):
                encoder.response_id = None

    return await service.answer(request, generate, lambda _: encoder, body.stream, keep)


@get("/api/v1/models")
async def v1_models(request: AnyRequest, service: Service) -> dict[str, Any]:
    """List the installed models and the aliases."""
    instances = service.instances(request)
    aliases = [v1_alias(name, model, instances) for name, model, _ in await service.aliases(request)]
    return {"models": [v1_entry(model, instances) for model, _ in await service.models(request)] + aliases}


@post("/api/v1/models/load", status_code=200)
async def v1_load(request: AnyRequest, management: Management) -> dict[str, Any]:
    """Load a model."""
    body = await body_of(request, LmStudioLoadBody)
    wanted = LoadRequest(model=body.model, context_length=body.context_length, slots=body.parallel, ttl=body.ttl)
    began = time.monotonic()
    *_, instance = [instance async for instance in management.load(request, wanted)]
    answer = {
        "type": "llm",
        "instance_id": instance.model,
        "load_time_seconds": time.monotonic() - began,
        "status": "loaded",
    }
    if body.echo_load_config and instance.capabilities is not None:
        answer["load_config"] = {"context_length": instance.capabilities.context_length}
    return answer


@post("/api/v1/models/unload", status_code=200)
async def v1_unload(request: AnyRequest, management: Management) -> dict[str, str]:
    """Unload an instance."""
    body = await body_of(request, LmStudioUnloadBody)
    await management.unload(request, body.instance_id)
    return {"instance_id": body.instance_id}


@post("/api/v1/models/download", status_code=200)
async def v1_download(request: AnyRequest, service: Service, management: Management) -> dict[str, Any]:
    """Begin the download of a repository of the Hub."""
    body = await body_of(request, LmStudioDownloadBody)
    context_of(request).principal.require("pull")
    try:
        await service.installed(request, body.model)
    except ModelNotFoundError:
        return begun_download(await management.pull(request, body.model))
    return {"status": "already_downloaded"}


@get("/api/v1/models/download/status/{job_id:str}")
async def v1_download_status(request: AnyRequest, management: Management, job_id: FromPath[str]) -> dict[str, Any]:
    """Return the progress of a download."""
    return download_state(management.download(request, job_id))


def begun_download(download: Download) -> dict[str, Any]:
    """Return a download in the form of the route that begins it. Fields without a value are left out."""
    state = DOWNLOAD_STATES.get(download.state, "downloading")
    found: dict[str, Any] = {"job_id": download.id, "status": state}
    if download.total is not None:
        found["total_size_bytes"] = download.total
    if download.started_at:
        found["started_at"] = timestamp(download.started_at)
    if state == "completed" and download.ended_at is not None:
        found["completed_at"] = timestamp(download.ended_at)
    return found


def download_state(download: Download) -> dict[str, Any]:
    """Return a download in the form of the status route: that of its begin, with the progress."""
    found = begun_download(download) | {"downloaded_bytes": download.done}
    if found["status"] == "downloading" and download.rate:
        found["bytes_per_second"] = download.rate
    if found["status"] == "downloading" and download.eta is not None:
        found["estimated_completion"] = timestamp(time.time() + download.eta)
    return found


ROUTES = [greeting, v1_chat, v1_models, v1_load, v1_unload, v1_download, v1_download_status]

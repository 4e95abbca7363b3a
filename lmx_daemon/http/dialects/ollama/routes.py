"""Ollama's routes that answer prompts and list models."""

from contextlib import suppress
from typing import Any

from litestar import Response, get, post

from lmx_daemon.contract.admin.protocol import LoadRequest
from lmx_daemon.contract.errors import NotFoundError, RequestError
from lmx_daemon.contract.generation.requests import Chat, Generate
from lmx_daemon.http.context import AnyRequest, context_of
from lmx_daemon.http.decoding import body_of
from lmx_daemon.http.dialects.durations import keep_alive_seconds
from lmx_daemon.http.dialects.ollama.bodies import OllamaBody, OllamaChatBody, OllamaGenerateBody, OllamaNamedBody
from lmx_daemon.http.dialects.ollama.encoders import OllamaChatEncoder, OllamaGenerateEncoder
from lmx_daemon.http.dialects.ollama.models import alias_tag, running, shown, tag
from lmx_daemon.http.dialects.ollama.names import model_name
from lmx_daemon.http.dialects.ollama.requests import chat_request, generate_request
from lmx_daemon.http.dialects.timestamps import timestamp
from lmx_daemon.http.management import Management, ModelManagement
from lmx_daemon.http.service import Service

VERSION = "0.13.5"
"""Version of Ollama whose routes this dialect follows. Clients refuse a server that is older than they need."""


@post("/api/chat", status_code=200)
async def chat(request: AnyRequest, service: Service, management: Management) -> Response[Any]:
    """Answer a conversation. Without messages, load the model, or unload it with `keep_alive` 0."""
    context = context_of(request)
    body, asked = await service.read(
        request, OllamaChatBody, lambda body: chat_request(body, context) if body.messages else None
    )
    if asked is None:
        return await loaded(request, management, body, {"message": {"role": "assistant", "content": ""}})
    return await service.answer(request, asked, lambda _: OllamaChatEncoder(body.model), body.stream is not False)


@post("/api/generate", status_code=200)
async def generate(request: AnyRequest, service: Service, management: Management) -> Response[Any]:
    """Continue or answer one prompt. Without a prompt, load the model, or unload it with `keep_alive` 0."""
    context = context_of(request)

    def translate(body: OllamaGenerateBody) -> Generate | None:
        return generate_request(body, context) if body.prompt or body.images else None

    body, asked = await service.read(request, OllamaGenerateBody, translate)
    if asked is None:
        return await loaded(request, management, body, {"response": ""})
    asked = await service.with_images(request, asked)
    messages = asked.prompt.messages if isinstance(asked.prompt, Chat) else None
    return await service.answer(
        request, asked, lambda _: OllamaGenerateEncoder(body.model, messages), body.stream is not False
    )


async def loaded(
    request: AnyRequest, management: ModelManagement, body: OllamaBody, piece: dict[str, Any]
) -> Response[Any]:
    """Return the answer after a load, or after an unload if `keep_alive` is 0."""
    idle = None if body.keep_alive is None else keep_alive_seconds(body.keep_alive)
    name, reason = model_name(body.model), "load"
    if idle == 0:
        reason = "unload"
        with suppress(NotFoundError):  # an unload without a loaded model is not an error in Ollama
            await management.unload(request, name)
    else:
        ttl = None if idle is None or idle < 0 else idle
        async for _ in management.load(request, LoadRequest(model=name, ttl=ttl)):
            pass
    answer = {"model": body.model, "created_at": timestamp()} | piece | {"done": True, "done_reason": reason}
    return Response(answer, media_type="application/json")


@get("/api/tags")
async def tags(request: AnyRequest, service: Service) -> dict[str, Any]:
    """List the installed models and the aliases."""
    aliases = [alias_tag(name, model) for name, model, _ in await service.aliases(request)]
    return {"models": [tag(model) for model, _ in await service.models(request)] + aliases}


@get("/api/ps")
async def ps(request: AnyRequest, service: Service) -> dict[str, Any]:
    """List the models in memory."""
    models = {model.id: model for model, _ in await service.models(request)}
    ready = [
        instance for instance in service.instances(request) if instance.state == "ready" and instance.model in models
    ]
    return {"models": [running(instance, models[instance.model]) for instance in ready]}


@post("/api/show", status_code=200)
async def show(request: AnyRequest, management: Management) -> dict[str, Any]:
    """Describe one model."""
    return shown(await management.details(request, named(await body_of(request, OllamaNamedBody))))


@get("/api/version")
async def version() -> dict[str, str]:
    """Return the version of Ollama whose routes are served."""
    return {"version": VERSION}


@get("/api/status")
async def status() -> dict[str, Any]:
    """Return the state of Ollama's cloud, which is never used."""
    return {"cloud": {"disabled": True, "source": "none"}}


def named(body: OllamaNamedBody) -> str:
    """Return the model that a body names. Raise RequestError if it names none."""
    given = body.model or body.name
    if not given:
        raise RequestError("model is required", param="model")
    return model_name(given)


ROUTES = [chat, generate, tags, ps, show, version, status]

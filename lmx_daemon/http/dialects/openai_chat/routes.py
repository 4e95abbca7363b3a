"""The OpenAI routes: chat completions, completions and models."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from litestar import Response, get, post
from litestar.params import FromPath

from lmx_daemon.contract.generation.requests import Generate
from lmx_daemon.contract.models import Instance, Model
from lmx_daemon.http.context import AnyRequest, context_of
from lmx_daemon.http.dialects.loaded_context import loaded_context
from lmx_daemon.http.dialects.openai_chat.bodies import Body, ChatBody, CompletionBody
from lmx_daemon.http.dialects.openai_chat.completions.completion_encoder import CompletionEncoder
from lmx_daemon.http.dialects.openai_chat.completions.completion_requests import completion_requests, prompt_echoes
from lmx_daemon.http.dialects.openai_chat.encoders import ChatEncoder
from lmx_daemon.http.dialects.openai_chat.functions import is_legacy, modern
from lmx_daemon.http.dialects.openai_chat.reasoning import reasoning_names
from lmx_daemon.http.dialects.openai_chat.requests import chat_request
from lmx_daemon.http.service import Service


@post("/v1/chat/completions", status_code=200)
async def chat_completions(request: AnyRequest, service: Service) -> Response[Any]:
    """Answer a conversation, as one object or as a stream."""
    context = context_of(request)

    def translate(body: ChatBody) -> Generate:
        return chat_request(modern(body), context)

    def encoder(unique_id: str) -> ChatEncoder:
        return ChatEncoder(
            unique_id, body.model, _wants_usage(body), legacy=is_legacy(body), reasoning_names=reasoning_names(body)
        )

    body, generate = await service.read(request, ChatBody, translate)
    return await service.answer(request, generate, encoder, bool(body.stream))


@post("/v1/completions", status_code=200)
async def completions(request: AnyRequest, service: Service) -> Response[Any]:
    """Continue a text, as one object or as a stream."""
    context = context_of(request)

    def translate(body: CompletionBody) -> list[Generate]:
        return completion_requests(body, context)

    def encoder(unique_id: str) -> CompletionEncoder:
        return CompletionEncoder(unique_id, body.model, _wants_usage(body), prompt_echoes(body, asked))

    body, asked = await service.read(request, CompletionBody, translate)
    return await service.answer_all(request, asked, encoder, bool(body.stream))


@get("/v1/models")
async def models(request: AnyRequest, service: Service) -> dict[str, Any]:
    """List the installed models and the aliases, in OpenAI's form and in Anthropic's at once."""
    instances = service.instances(request)
    entries = [_entry(model, state, instances) for model, state in await service.models(request)]
    entries += [
        alias_entry(name, _entry(model, state, instances)) for name, model, state in await service.aliases(request)
    ]
    ids = [entry["id"] for entry in entries] or [None]
    page = {"first_id": ids[0], "last_id": ids[-1], "has_more": False}
    return {"object": "list", "data": entries, "models": [], **page}


@get("/v1/models/{model_id:path}")
async def model(request: AnyRequest, service: Service, model_id: FromPath[str]) -> dict[str, Any]:
    """Describe one model, or the model of an alias."""
    name = str(model_id).strip("/")
    entry = _entry(*await service.model(request, name), service.instances(request))
    return alias_entry(name, entry) if service.is_alias(name) else entry


ROUTES = [chat_completions, completions, models, model]


def alias_entry(name: str, entry: dict[str, Any]) -> dict[str, Any]:
    """Return the entry of an alias, which has the facts of its model."""
    return entry | {"id": name, "display_name": name, "alias_of": entry["id"]}


def _entry(model: Model, state: str, instances: Sequence[Instance]) -> dict[str, Any]:
    """Return the entry of a model. `max_model_len` is the context that a request can use now."""
    context = loaded_context(instances, model)
    return {
        "id": model.id,
        "object": "model",
        "created": int(model.modified_at),
        "owned_by": model.id.partition("/")[0],
        "state": state,
        "max_context_length": model.context_length,
        "max_model_len": context or model.context_length,
        "loaded_context_length": context,
        "type": "model",
        "display_name": model.id,
        "created_at": datetime.fromtimestamp(int(model.modified_at), UTC).isoformat(),
        "lifecycle": "active",
        "max_input_tokens": context or model.context_length,
        "max_tokens": context or model.context_length,
    }


def _wants_usage(body: Body) -> bool:
    return bool(body.stream_options and body.stream_options.include_usage)

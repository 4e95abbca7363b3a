"""LM Studio's routes /api/v0: OpenAI's bodies and answers with statistics, and models with their state."""

from collections.abc import Callable, Sequence
from typing import Any

from litestar import Response, get, post
from litestar.params import FromPath

from lmx_daemon.contract.errors import UnsupportedError
from lmx_daemon.contract.generation.requests import Generate
from lmx_daemon.http.context import AnyRequest, context_of
from lmx_daemon.http.dialects.lmstudio.models import v0_alias, v0_entry
from lmx_daemon.http.dialects.lmstudio.v0_encoder import V0Encoder
from lmx_daemon.http.dialects.loaded_context import loaded_context
from lmx_daemon.http.dialects.openai_chat.bodies import ChatBody, CompletionBody
from lmx_daemon.http.dialects.openai_chat.completions.completion_encoder import CompletionEncoder
from lmx_daemon.http.dialects.openai_chat.completions.completion_requests import completion_requests, prompt_echoes
from lmx_daemon.http.dialects.openai_chat.encoders import ChatEncoder, OpenAIEncoder
from lmx_daemon.http.dialects.openai_chat.functions import is_legacy, modern
from lmx_daemon.http.dialects.openai_chat.reasoning import reasoning_names
from lmx_daemon.http.dialects.openai_chat.requests import chat_request
from lmx_daemon.http.service import ModelService, Service


@post("/api/v0/chat/completions", status_code=200)
async def v0_chat(request: AnyRequest, service: Service) -> Response[Any]:
    """Answer a conversation."""
    context = context_of(request)
    body, generate = await service.read(request, ChatBody, lambda body: chat_request(modern(body), context))

    def encoder(identity: str) -> ChatEncoder:
        return ChatEncoder(identity, body.model, legacy=is_legacy(body), reasoning_names=reasoning_names(body))

    return await answer(request, service, [generate], encoder, bool(body.stream))


@post("/api/v0/completions", status_code=200)
async def v0_completions(request: AnyRequest, service: Service) -> Response[Any]:
    """Continue a text."""
    context = context_of(request)
    body, asked = await service.read(request, CompletionBody, lambda body: completion_requests(body, context))

    def encoder(identity: str) -> CompletionEncoder:
        return CompletionEncoder(identity, body.model, prompts=prompt_echoes(body, asked))

    return await answer(request, service, asked, encoder, bool(body.stream))


async def answer(
    request: AnyRequest,
    service: ModelService,
    asked: Sequence[Generate],
    inner: Callable[[str], OpenAIEncoder],
    stream: bool,
) -> Response[Any]:
    """Return the answer to requests for one model in OpenAI's form, with LM Studio's fields at its end."""
    asked = [await service.routed(request, asked[0]), *asked[1:]]
    model, _ = await service.model(request, asked[0].model)
    context_length = loaded_context(service.instances(request), model)
    return await service.answer_all(
        request, asked, lambda identity: V0Encoder(inner(identity), model, context_length), stream
    )


@get("/api/v0/models")
async def v0_models(request: AnyRequest, service: Service) -> dict[str, Any]:
    """List the installed models and the aliases."""
    instances = service.instances(request)
    entries = [v0_entry(model, state, instances) for model, state in await service.models(request)]
    aliases = [v0_alias(name, model, state, instances) for name, model, state in await service.aliases(request)]
    return {"object": "list", "data": entries + aliases}


@get("/api/v0/models/{model_id:path}")
async def v0_model(request: AnyRequest, service: Service, model_id: FromPath[str]) -> dict[str, Any]:
    """Describe one model."""
    return v0_entry(*await service.model(request, str(model_id).strip("/")), service.instances(request))


@post("/api/v0/embeddings")
async def v0_embeddings() -> None:
    """Refuse: there are no embeddings yet."""
    raise UnsupportedError("embeddings are not served yet")


ROUTES = [v0_chat, v0_completions, v0_models, v0_model, v0_embeddings]

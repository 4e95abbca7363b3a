"""OpenAI's routes on the public port: chat completions, completions, and models."""

from typing import Any

import msgspec
from litestar import Response, get, post
from litestar.datastructures import State
from litestar.params import FromPath

from lmx_daemon.contract.generation import Generate
from lmx_daemon.contract.types import Model
from lmx_daemon.http.context import AnyRequest, context_of
from lmx_daemon.http.dialects.openai_chat.bodies import Body, ChatBody, CompletionBody
from lmx_daemon.http.dialects.openai_chat.encoders import ChatEncoder, CompletionEncoder
from lmx_daemon.http.dialects.openai_chat.functions import is_legacy, modern
from lmx_daemon.http.dialects.openai_chat.requests import chat_request, completion_request
from lmx_daemon.http.serving import serve
from lmx_daemon.library.catalog.catalog import Catalog
from lmx_daemon.residency.pool import Pool


@post("/v1/chat/completions", status_code=200)
async def chat_completions(request: AnyRequest, state: State) -> Response[Any]:
    client, given = _client(request), context_of(request).id

    def understood(body: ChatBody) -> tuple[ChatBody, Generate]:
        return body, chat_request(modern(body), given, _tenant(body), client)

    body, asked = await state.bodies.decoded(request, ChatBody, understood)
    await state.catalog.seek(body.model)
    asked = _identified(asked, state.pool)
    encoder = ChatEncoder(asked.id, body.model, _wants_usage(body), legacy=is_legacy(body))
    return await serve(request, state.pool, asked, encoder, bool(body.stream))


@post("/v1/completions", status_code=200)
async def completions(request: AnyRequest, state: State) -> Response[Any]:
    client, given = _client(request), context_of(request).id

    def understood(body: CompletionBody) -> tuple[CompletionBody, Generate]:
        return body, completion_request(body, given, _tenant(body), client)

    body, asked = await state.bodies.decoded(request, CompletionBody, understood)
    await state.catalog.seek(body.model)
    asked = _identified(asked, state.pool)
    encoder = CompletionEncoder(asked.id, body.model, _wants_usage(body))
    return await serve(request, state.pool, asked, encoder, bool(body.stream))


@get("/v1/models")
async def models(state: State) -> dict[str, Any]:
    catalog: Catalog = state.catalog
    loaded = _states(state.pool)
    return {"object": "list", "data": [_entry(model, loaded) for model in await catalog.listing()]}


@get("/v1/models/{model_id:path}")
async def model(state: State, model_id: FromPath[str]) -> dict[str, Any]:
    catalog: Catalog = state.catalog
    return _entry(await catalog.seek(str(model_id).strip("/")), _states(state.pool))


ROUTES = [chat_completions, completions, models, model]


def _entry(model: Model, states: dict[str, str]) -> dict[str, Any]:
    return {
        "id": model.id,
        "object": "model",
        "created": int(model.modified_at),
        "owned_by": model.id.partition("/")[0],
        "state": states.get(model.id, "not-loaded"),
        "max_context_length": model.context_length,
    }


def _states(pool: Pool) -> dict[str, str]:
    names = {"ready": "loaded", "starting": "loading", "loading": "loading"}
    return {i.model: names[i.state] for i in pool.instances() if i.state in names}


def _identified(asked: Generate, pool: Pool) -> Generate:
    """Return the request under an id of its own: a client that uses one id twice at once gets its second one marked."""
    identity, count = asked.id, 1
    while pool.requests.has(identity):
        count += 1
        identity = f"{asked.id}.{count}"
    return asked if count == 1 else msgspec.structs.replace(asked, id=identity)


def _tenant(body: Body) -> str:
    return f"user:{body.user}" if body.user else "http"


def _client(request: AnyRequest) -> str:
    return (request.headers.get("user-agent") or "")[:80]


def _wants_usage(body: Body) -> bool:
    return bool(body.stream_options and body.stream_options.include_usage)

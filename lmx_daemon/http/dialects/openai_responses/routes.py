"""The Responses routes: an answer, and what is stored of it."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
from litestar import Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from lmx_daemon.contract.errors import NotFoundError, RequestError
from lmx_daemon.contract.generation.events import Event
from lmx_daemon.contract.generation.requests import Chat, Count, Message
from lmx_daemon.http.context import AnyRequest, context_of
from lmx_daemon.http.dialects.ignored import Ignored
from lmx_daemon.http.dialects.openai_responses.bodies import Object, ResponsesBody
from lmx_daemon.http.dialects.openai_responses.compaction import compacted
from lmx_daemon.http.dialects.openai_responses.encoder import ResponsesEncoder
from lmx_daemon.http.dialects.openai_responses.items import ItemReader
from lmx_daemon.http.dialects.openai_responses.requests import Translated, items_of, responses_request
from lmx_daemon.http.dialects.openai_responses.response_object import ResponseFrame, new_response_id, request_id_of
from lmx_daemon.http.service import ModelService, Service
from lmx_daemon.http.stored_answers import StoredAnswers

Answers = NamedDependency[StoredAnswers]


class StoredResponse(msgspec.Struct, frozen=True):
    """A response and the input that led to it, as JSON is stored."""

    response: Object
    input: list[Object]


@post("/v1/responses", status_code=200)
async def create_response(request: AnyRequest, service: Service, answers: Answers) -> Response[Any]:
    """Answer an input, as one object or as a stream of events."""
    body, model, translated = await read(request, service, answers)
    generate = translated.generate
    created = int(time.time())

    made: list[ResponsesEncoder] = []

    def encoder(identity: str) -> ResponsesEncoder:
        frame = ResponseFrame(new_response_id(identity), model, created, body)
        made.append(ResponsesEncoder(frame, body, translated.table))
        return made[0]

    async def keep(events: Sequence[Event]) -> None:
        if body.store is False or not isinstance(generate.prompt, Chat):
            return
        response = made[0].response(events)
        stored = StoredResponse(response, items_of(body.input))
        made[0].frame.stored = await answers.keep(
            request,
            response["id"],
            turns(generate.prompt, body, response["output"], translated),
            msgspec.json.encode(stored),
        )

    answer = await service.answer(request, generate, encoder, bool(body.stream), keep)
    ignored = Ignored()
    for place, found in (("tools", translated.table.dropped), ("input", translated.skipped)):
        for part in found:
            ignored.note(place, part)
    ignored.report(answer, generate.id)
    return answer


async def read(
    request: AnyRequest, service: ModelService, answers: StoredAnswers
) -> tuple[ResponsesBody, str, Translated]:
    """Return the body, the model that it means, and the request. Raise RequestError or NotFoundError."""
    body, _ = await service.read(request, ResponsesBody, lambda body: body)
    earlier: tuple[Message, ...] = ()
    model = body.model
    if body.previous_response_id is not None:
        earlier = await answers.conversation(request, body.previous_response_id, "previous_response_id")
        if model is None:
            model = (await stored(request, answers, body.previous_response_id)).response["model"]
    if model is None:
        raise RequestError("model is required", param="model")
    translated = responses_request(body, model, context_of(request), earlier)
    generate = await service.with_images(request, translated.generate)
    return body, model, replace(translated, generate=generate)


def turns(prompt: Chat, body: ResponsesBody, output: Sequence[Object], translated: Translated) -> tuple[Message, ...]:
    """Return the conversation that a next response continues: no instructions, since those do not carry over."""
    asked = prompt.messages[1:] if body.instructions else prompt.messages
    built = ItemReader(translated.table, list(asked))
    built.extend(output)
    return tuple(built.messages)


async def stored(request: AnyRequest, answers: StoredAnswers, identity: str) -> StoredResponse:
    found = await answers.find(request, identity, "response_id")
    try:
        return msgspec.json.decode(found.body, type=StoredResponse)
    except msgspec.DecodeError:
        raise NotFoundError(f"{identity[:100]!r} is not a response of this route", param="response_id") from None


@get("/v1/responses/{response_id:str}")
async def get_response(request: AnyRequest, answers: Answers, response_id: FromPath[str]) -> dict[str, Any]:
    """Return a stored response."""
    return (await stored(request, answers, response_id)).response


@delete("/v1/responses/{response_id:str}", status_code=200)
async def delete_response(request: AnyRequest, answers: Answers, response_id: FromPath[str]) -> dict[str, Any]:
    """Delete a stored response."""
    await answers.forget(request, response_id)
    return {"id": response_id, "object": "response", "deleted": True}


@get("/v1/responses/{response_id:str}/input_items")
async def list_input(request: AnyRequest, answers: Answers, response_id: FromPath[str]) -> dict[str, Any]:
    """Return the input items of a stored response, the last one first."""
    found = (await stored(request, answers, response_id)).input
    data = [{"id": f"in_{position}"} | item for position, item in enumerate(found)][::-1]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": False,
    }


@post("/v1/responses/{response_id:str}/cancel", status_code=200)
async def cancel_response(
    request: AnyRequest, service: Service, answers: Answers, response_id: FromPath[str]
) -> dict[str, Any]:
    """End a response that is being computed; its stream ends with what it has. A stored one is returned as it is."""
    if service.cancel(request, request_id_of(response_id)):
        return {"id": response_id, "object": "response", "status": "cancelled", "output": []}
    return (await stored(request, answers, response_id)).response


@post("/v1/responses/input_tokens", status_code=200)
async def count_input(request: AnyRequest, service: Service, answers: Answers) -> dict[str, Any]:
    """Count the tokens of an input, template and tools included."""
    _, model, translated = await read(request, service, answers)
    generate = translated.generate
    count = Count(id=generate.id, model=model, prompt=generate.prompt, tenant=generate.tenant, preset=generate.preset)
    return {"object": "response.input_tokens", "input_tokens": await service.count(request, count)}


@post("/v1/responses/compact", status_code=200)
async def compact_response(request: AnyRequest, service: Service, answers: Answers) -> dict[str, Any]:
    """Replace a conversation by a summary, which a later input begins with."""
    _, _, translated = await read(request, service, answers)
    return await compacted(request, service, translated.generate)


ROUTES = [
    create_response,
    get_response,
    delete_response,
    list_input,
    cancel_response,
    count_input,
    compact_response,
]

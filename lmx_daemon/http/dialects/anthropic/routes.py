"""Anthropic's routes: messages, their token counts, and the check that Claude Code makes at its start."""

from typing import Any

from litestar import Response, get, post

from lmx_daemon.contract.generation.requests import Count, Generate
from lmx_daemon.http.context import AnyRequest, context_of
from lmx_daemon.http.dialects.anthropic.bodies import CountBody, MessagesBody
from lmx_daemon.http.dialects.anthropic.encoders import MessageEncoder
from lmx_daemon.http.dialects.anthropic.requests import count_request, messages_request
from lmx_daemon.http.dialects.ignored import Ignored
from lmx_daemon.http.service import Service


@post("/v1/messages", status_code=200)
async def messages(request: AnyRequest, service: Service) -> Response[Any]:
    """Answer a conversation, as one object or as a stream."""
    context, ignored = context_of(request), Ignored()

    def translate(body: MessagesBody) -> Generate:
        return messages_request(body, context, ignored)

    def encoder(unique_id: str) -> MessageEncoder:
        return MessageEncoder(unique_id, body.model, body.max_tokens, body.stop_sequences or ())

    body, generate = await service.read(request, MessagesBody, translate)
    response = await service.answer(request, generate, encoder, bool(body.stream))
    ignored.report(response, context.id)
    return response


@post("/v1/messages/count_tokens", status_code=200)
async def count_tokens(request: AnyRequest, service: Service) -> Response[dict[str, int]]:
    """Return the number of tokens of a conversation."""
    context, ignored = context_of(request), Ignored()

    def translate(body: CountBody) -> Count:
        return count_request(body, context, ignored)

    _, count = await service.read(request, CountBody, translate)
    response = Response({"input_tokens": await service.count(request, count)}, media_type="application/json")
    ignored.report(response, context.id)
    return response


@get("/api/hello")
async def hello() -> dict[str, str]:
    """Answer Claude Code's check. Needs no key."""
    return {"message": "hello"}


ROUTES = [messages, count_tokens, hello]

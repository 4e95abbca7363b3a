"""The exception that the Anthropic SDK raises for each error of lmx, before an answer and in its stream."""

import asyncio
from collections.abc import Sequence
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic import AsyncAnthropic

from lmx_daemon.contract import errors
from lmx_daemon.contract.generation.events import Delta, Event, Failed, Started
from lmx_daemon.residency.requests.active_request import ActiveRequest
from tests.http.asgi import FakePool, public_app_over

TABLE: list[tuple[errors.LmxError, type[anthropic.APIStatusError]]] = [
    (errors.RequestError("x"), anthropic.BadRequestError),
    (errors.prompt_too_long(9, 8, "messages"), anthropic.BadRequestError),
    (errors.UntrustedModelError("x"), anthropic.PermissionDeniedError),
    (errors.ModelNotFoundError("x"), anthropic.NotFoundError),
    (errors.ConflictError("x"), anthropic.ConflictError),
    (errors.TooLargeError("x"), anthropic.RequestTooLargeError),
    (errors.BusyError("x"), anthropic.RateLimitError),
    (errors.WorkerError("x"), anthropic.InternalServerError),
    (errors.ShuttingDownError("x"), anthropic.OverloadedError),
    (errors.DeadlineError("x"), anthropic.DeadlineExceededError),
    (errors.OutOfMemoryError("x"), anthropic.InternalServerError),
]


def client_of(pool: FakePool, key: str = "lmx", **settings: Any) -> AsyncAnthropic:
    transport = httpx2.ASGITransport(public_app_over(pool, **settings))
    http = httpx2.AsyncClient(transport=transport, base_url="http://localhost")
    return AsyncAnthropic(base_url="http://localhost", api_key=key, max_retries=0, http_client=http)


async def ask(client: AsyncAnthropic, **fields: Any) -> Any:
    messages: Any = [{"role": "user", "content": "x"}]
    return await client.messages.create(model="m", max_tokens=5, messages=messages, **fields)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("error", "kind"), TABLE)
async def test_error_before_an_answer(
    error: errors.LmxError, kind: type[anthropic.APIStatusError], stream: bool
) -> None:
    failed = Failed(id="r", error=error.body())
    async with client_of(FakePool(lambda _: [failed])) as client:
        with pytest.raises(kind) as caught:
            await ask(client, stream=stream)
    assert type(caught.value) is kind
    assert caught.value.error_code == error.code and caught.value.api_message == error.message
    assert caught.value.request_id


async def test_wrong_key() -> None:
    async with client_of(FakePool(lambda _: []), "wrong", api_key="secret") as client:
        with pytest.raises(anthropic.AuthenticationError) as caught:
            await ask(client)
    assert caught.value.type == "authentication_error"


async def test_error_in_a_stream() -> None:
    def script(active: ActiveRequest) -> Sequence[Event]:
        failed = Failed(id="r", error=errors.WorkerError("it crashed").body())
        asyncio.get_running_loop().call_later(0.05, active.put, failed)
        return [Started(id="r", prompt_tokens=1, cached_tokens=0, seed=1), Delta(id="r", content="Hel")]

    async with client_of(FakePool(script)) as client:
        stream = await ask(client, stream=True)
        with pytest.raises(anthropic.APIStatusError, match="it crashed") as caught:
            [event async for event in stream]
    assert caught.value.type == "api_error"

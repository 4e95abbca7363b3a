"""OpenAI's SDK over an app whose requests fail, and the exception that it raises for each error."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import openai
from openai import AsyncOpenAI

from lmx_daemon.contract import errors
from lmx_daemon.contract.generation.events import Failed
from tests.http.asgi import FakePool, public_app_over

EXCEPTIONS: list[tuple[errors.LmxError, type[openai.APIStatusError]]] = [
    (errors.RequestError("x", param="n"), openai.BadRequestError),
    (errors.prompt_too_long(9, 8, "messages"), openai.BadRequestError),
    (errors.UnsupportedError("x"), openai.BadRequestError),
    (errors.UntrustedModelError("x"), openai.PermissionDeniedError),
    (errors.ModelNotFoundError("x"), openai.NotFoundError),
    (errors.ConflictError("x"), openai.ConflictError),
    (errors.BusyError("x", retry_after=1.0), openai.RateLimitError),
    (errors.WorkerError("x"), openai.InternalServerError),
    (errors.OutOfMemoryError("x"), openai.InternalServerError),
    (errors.ShuttingDownError("x"), openai.InternalServerError),
    (errors.DeadlineError("x"), openai.InternalServerError),
]


@asynccontextmanager
async def sdk_of_failures(error: errors.LmxError) -> AsyncIterator[AsyncOpenAI]:
    """Yield a client of an app in which every request fails with `error`."""
    app = public_app_over(FakePool(lambda active: [Failed(id=active.id, error=error.body())]))
    transport = httpx2.ASGITransport(app=app)
    async with (
        httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http,
        AsyncOpenAI(base_url="http://127.0.0.1/v1", api_key="k", max_retries=0, http_client=http) as client,
    ):
        yield client

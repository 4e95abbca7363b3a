"""The admin socket's routes of the library, one for each method of contract/library_calls.py. Ids hold slashes, so they
come in bodies and queries, never in paths."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from litestar import Request, get, post
from litestar.datastructures import State
from litestar.response import Stream

from lmx_daemon.contract.library import Details, TrustRequest, TrustRow, VerifyRequest
from lmx_daemon.http.admin import line, lines
from lmx_daemon.http.errors import decode
from lmx_daemon.library.librarian import Librarian

AnyRequest = Request[Any, Any, Any]


@get("/admin/library/model")
async def details(state: State, id: str) -> Details:
    librarian: Librarian = state.librarian
    return await asyncio.to_thread(librarian.details, id)


@post("/admin/library/verify", status_code=200)
async def verify(request: AnyRequest, state: State) -> Stream:
    librarian: Librarian = state.librarian
    updates = librarian.proving.verify(decode(await request.body(), VerifyRequest))
    first = await anext(updates)  # what is wrong from the start is a status code

    async def told() -> AsyncIterator[bytes]:
        async with aclosing(updates):
            yield line(first)
            async for update in updates:
                yield line(update)

    return lines(told())


@get("/admin/library/trust")
async def trusted(state: State) -> list[TrustRow]:
    librarian: Librarian = state.librarian
    return librarian.trusted()


@post("/admin/library/trust", status_code=200)
async def trust(request: AnyRequest, state: State) -> TrustRow:
    librarian: Librarian = state.librarian
    return await asyncio.to_thread(librarian.trust, decode(await request.body(), TrustRequest))


ROUTES = [details, verify, trusted, trust]

"""Stored answers for the routes of a dialect: each principal reads only its own."""

import asyncio
from collections.abc import Sequence

import msgspec

from lmx_daemon.contract.errors import DiskError, NotFoundError
from lmx_daemon.contract.generation.requests import Message
from lmx_daemon.http.context import AnyRequest, context_of
from lmx_daemon.monitor.logs import log
from lmx_daemon.storage.answers import AnswerStore, StoredAnswer

CONVERSATION = msgspec.msgpack.Decoder(tuple[Message, ...])


class StoredAnswers:
    """The stored answers that a dialect reads and writes."""

    def __init__(self, store: AnswerStore) -> None:
        self._store = store

    async def keep(self, request: AnyRequest, identity: str, conversation: Sequence[Message], body: bytes) -> bool:
        """Store an answer. Return whether it can be read again; a fault of the disk does not fail the answer."""
        answer = StoredAnswer(
            id=identity,
            owner=context_of(request).principal.tenant,
            conversation=msgspec.msgpack.encode(tuple(conversation)),
            body=body,
        )
        try:
            return await asyncio.to_thread(self._store.put, answer)
        except DiskError as error:
            log("http", "warning", f"an answer was not stored: {error.message}", context_of(request).id)
            return False

    async def find(self, request: AnyRequest, identity: str, param: str) -> StoredAnswer:
        """Return a stored answer. Raise NotFoundError that names `param`, or DiskError."""
        found = await asyncio.to_thread(self._store.get, identity, context_of(request).principal.tenant)
        if found is None:
            raise NotFoundError(
                f"there is no stored answer {identity[:100]!r}",
                param=param,
                hint="it was never stored, was deleted, or is older than [server] answer_days",
            )
        return found

    async def conversation(self, request: AnyRequest, identity: str, param: str) -> tuple[Message, ...]:
        """Return the conversation up to a stored answer. Raise NotFoundError that names `param`, or DiskError."""
        return CONVERSATION.decode((await self.find(request, identity, param)).conversation)

    async def forget(self, request: AnyRequest, identity: str) -> None:
        """Delete a stored answer. Raise NotFoundError, or DiskError."""
        if not await asyncio.to_thread(self._store.delete, identity, context_of(request).principal.tenant):
            raise NotFoundError(f"there is no stored answer {identity[:100]!r}", param="response_id")

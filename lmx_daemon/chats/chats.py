"""The chats as routes use them. The file is accessed in threads, answers are generated in the background."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial

import msgspec

from lmx_daemon.chats.answers import ChatAnswers, Models
from lmx_daemon.chats.exchange.importing import import_chats
from lmx_daemon.chats.forks import copy_branch
from lmx_daemon.chats.growing import GrowingMessage
from lmx_daemon.chats.named import (
    known,
    model_of,
    new_answer,
    new_message,
    new_request_id,
    parent_of,
    unknown_message,
    without_contents,
)
from lmx_daemon.chats.prompt import request_for
from lmx_daemon.chats.store.reading import ChatReads
from lmx_daemon.chats.store.store import ChatStore, new_id
from lmx_daemon.chats.watchers import Watchers
from lmx_daemon.contract.admin.chat_import import ChatImport, ChatsImported
from lmx_daemon.contract.admin.chat_tree import below, path_to
from lmx_daemon.contract.admin.chats import (
    Append,
    Ask,
    AskAgain,
    Asked,
    ChatChange,
    ChatCreate,
    ChatDetail,
    ChatRow,
    ChatUpdate,
    EditMessage,
    NewMessage,
    RemovedMessages,
    StoredMessage,
)
from lmx_daemon.contract.errors import ConflictError
from lmx_daemon.contract.generation.requests import Generate

CLOSE_SECONDS = 3.0
IDLE_SECONDS = 10.0
"""Time without changes after which a stream sends an empty line, which shows that the daemon lives."""


class Chats(ChatReads):
    """All chats of the daemon."""

    def __init__(
        self,
        store: ChatStore,
        models: Models,
        run: Callable[[Awaitable[None]], object],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.revision = 0
        """Number that changes when the list of chats does."""
        self._clock = clock
        self._watchers = Watchers()
        super().__init__(store, ChatAnswers(store, models, self._watchers, run, self._changed))

    # ---- readers ----

    async def watch(self, identity: str) -> AsyncGenerator[ChatUpdate | None]:
        """Yield the chat, then its changes; None when nothing has changed for a while."""
        watcher = self._watchers.add(identity)
        try:
            chat = await self.get(identity)
            growing = self._answers.of(identity)
            live = {each.id for each in growing}
            waits = [ChatUpdate(answer=each.id, events=(each.progress,)) for each in growing if each.progress]
            kept = [update for update in watcher.drain() if not update.events]
            yield ChatUpdate(chat=chat)
            for update in waits:
                yield update
            for update in kept:
                if update.message is None or update.message.id not in live:
                    yield update
            while not watcher.lost:
                updates = await watcher.take(IDLE_SECONDS)
                if not updates:
                    yield None
                for update in updates:
                    yield update
                    if update.gone:
                        return
        finally:
            self._watchers.remove(watcher)

    # ---- changes ----

    async def create(self, asked: ChatCreate) -> ChatRow:
        return self._listed(await asyncio.to_thread(self._store.create, asked))

    async def change(self, identity: str, change: ChatChange, *, titled_by: str = "user") -> ChatRow:
        """Change fields of a chat, and notify all its readers, the client of this change included."""
        row = await asyncio.to_thread(partial(self._store.change, identity, change, titled_by=titled_by))
        row = self._running(row)
        if change.draft is msgspec.UNSET:
            leaf = (await asyncio.to_thread(self._store.get, identity)).leaf if isinstance(change.leaf, str) else None
            self._watchers.row(row, leaf)
            self._changed()
        return row

    async def delete(self, identity: str) -> ChatRow:
        """Move a chat to the trash. Raise ConflictError while an answer is generated."""
        if self._answers.of(identity):
            raise ConflictError("an answer of this chat is being generated", hint="stop it first")
        return self._listed(await asyncio.to_thread(self._store.delete, identity))

    async def restore(self, identity: str) -> ChatRow:
        return self._listed(await asyncio.to_thread(self._store.restore, identity))

    async def empty_trash(self) -> int:
        return await asyncio.to_thread(self._store.empty_trash)

    async def fork(self, identity: str, message: str) -> ChatRow:
        """Return a new chat with a copy of the branch that ends at a message."""
        chat = await self.get(identity)
        path = path_to(chat.messages, known(chat, message).id)
        origin = ChatCreate(
            title=f"{chat.row.name[:190]} (fork)", model=chat.row.model, settings=chat.settings,
            folder=chat.row.folder, tags=chat.row.tags,
        )  # fmt: skip
        return self._listed(await asyncio.to_thread(copy_branch, self._store, origin, path))

    async def append(self, identity: str, asked: Append) -> tuple[StoredMessage, ...]:
        """Add messages without an answer, and return them."""
        chat = await self.get(identity)
        parent = parent_of(chat, asked.parent)
        messages = []
        for new in asked.messages:
            messages.append(new_message(new, parent, self._clock()))
            parent = messages[-1].id
        return await self._add(identity, messages)

    async def edit(self, identity: str, asked: EditMessage) -> StoredMessage:
        """Add a copy of a message with another text as its sibling, and return the copy."""
        chat = await self.get(identity)
        found = known(chat, asked.message)
        files = await asyncio.to_thread(self._store.files, found)
        copy = msgspec.structs.replace(
            found, id=new_id("m"), text=asked.text, state="done", error=None, at=self._clock(), attachments=files,
            request_id="",
        )  # fmt: skip
        return (await self._add(identity, [copy]))[0]

    async def remove_messages(self, identity: str, message: str) -> RemovedMessages:
        """Take a message and all that follows it out of a chat. Raise ConflictError while one of them is generated."""
        chat = await self.get(identity)
        removed = {each.id for each in below(chat.messages, known(chat, message).id)}
        if any(growing.id in removed for growing in self._answers.of(identity)):
            raise ConflictError("an answer among these messages is being generated", hint="stop it first")
        removal = await asyncio.to_thread(self._store.remove_messages, identity, message)
        await self._pruned(identity)
        return removal

    async def restore_messages(self, identity: str, removal: str) -> RemovedMessages:
        """Undo a removal of messages; "" stands for the last removal."""
        found = await asyncio.to_thread(self._store.restore_messages, identity, removal)
        await self._pruned(identity)
        return found

    async def import_all(self, asked: ChatImport) -> ChatsImported:
        """Add exported chats, except those that are present already."""
        found = await asyncio.to_thread(import_chats, self._store, asked.chats, self._clock())
        self._changed()
        return found

    # ---- answers ----

    async def ask(self, identity: str, asked: Ask) -> Asked:
        """Add a user message and an empty answer, and begin to generate it. Both are on the disk when this returns."""
        chat = await self.get(identity)
        parent = parent_of(chat, asked.parent)
        new = NewMessage(role="user", text=asked.text, attachments=asked.attachments)
        user = new_message(new, parent, self._clock())
        return await self._begin(chat, user, asked)

    async def ask_again(self, identity: str, asked: AskAgain) -> Asked:
        """Generate a further answer to a user message, or the rest of an assistant message."""
        chat = await self.get(identity)
        found = known(chat, asked.message)
        if found.role == "assistant":
            with self._answers.claimed(found.id):
                return await self._continue(identity, asked)
        return await self._begin(chat, found, asked, stored=True)

    async def look(self) -> None:
        """Write the answers again that a full disk refused. To be called every UNWRITTEN_SECONDS."""
        await self._answers.look()

    async def close(self) -> None:
        """Wait for the last answers, and close the file."""
        await self._answers.close(CLOSE_SECONDS)
        await asyncio.wait([asyncio.ensure_future(asyncio.to_thread(self._store.close))], timeout=CLOSE_SECONDS)

    async def _begin(
        self, chat: ChatDetail, user: StoredMessage, asked: Ask | AskAgain, *, stored: bool = False
    ) -> Asked:
        identity, model = chat.row.id, model_of(chat, asked.model)
        answer = new_answer(user.id, model, self._clock())
        path = path_to((*chat.messages, user), user.id)
        request = await self._request(chat, path, answer, asked, new=None if stored else user)
        if model != chat.row.model:
            await self.change(identity, ChatChange(model=model))
        added = await self._add(identity, [answer] if stored else [user, answer], draft=None if stored else "")
        self._answers.begin(GrowingMessage(identity, answer, time.monotonic()), request)
        return Asked(answer=answer, user=None if stored else added[0])

    async def _continue(self, identity: str, asked: AskAgain) -> Asked:
        """Generate the rest of a message. It is claimed, and read after that: no other request changes it meanwhile."""
        chat = await self.get(identity)
        found = known(chat, asked.message)
        model = asked.model or found.model or model_of(chat, "")
        answer = msgspec.structs.replace(found, state="running", error=None, model=model, request_id=new_request_id())
        path = path_to(chat.messages, found.id)
        request = await self._request(chat, path, answer, asked, continues=bool(found.text))
        if not await asyncio.to_thread(self._store.update, answer):
            raise unknown_message(found.id)  # it was removed since
        self._watchers.message(identity, without_contents(answer))
        self._answers.begin(GrowingMessage(identity, answer, time.monotonic()), request)
        return Asked(answer=without_contents(answer))

    async def _request(
        self,
        chat: ChatDetail,
        path: list[StoredMessage],
        answer: StoredMessage,
        asked: Ask | AskAgain,
        *,
        new: StoredMessage | None = None,
        continues: bool = False,
    ) -> Generate:
        """Return the request for an answer to `path`. Files are read from the disk, except those of a `new` message."""
        files = await asyncio.to_thread(self._files, tuple(message for message in path if message is not new))
        if new is not None:
            files[new.id] = new.attachments
        return request_for(
            path, files, chat.settings, request_id=answer.request_id, model=answer.model, tenant=asked.tenant,
            client=asked.client, continues=continues,
        )  # fmt: skip

    # ---- parts ----

    async def _add(
        self, identity: str, messages: list[StoredMessage], *, draft: str | None = None
    ) -> tuple[StoredMessage, ...]:
        row = await asyncio.to_thread(partial(self._store.add, identity, messages, draft=draft))
        bare = tuple(without_contents(message) for message in messages)
        for message in bare:
            self._watchers.message(identity, message, leaf=messages[-1].id)
        self._watchers.row(self._running(row))
        self._changed()
        return bare

    async def _pruned(self, identity: str) -> None:
        """Notify the readers of a chat that has lost messages or regained them."""
        self._watchers.chat(await self.get(identity))
        self._changed()

    def _listed(self, row: ChatRow) -> ChatRow:
        """Notify the readers of a changed row, and return it."""
        self._watchers.row(row)
        self._changed()
        return row

    def _changed(self) -> None:
        self.revision += 1

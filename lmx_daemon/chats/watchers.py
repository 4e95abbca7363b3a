"""The readers of a chat: each receives the changes of the chat in order, those that arrive together as one list."""

import asyncio

from lmx_daemon.contract.admin.chats import ChatDetail, ChatRow, ChatUpdate, StoredMessage
from lmx_daemon.contract.generation.events import Event

MAX_WAITING = 20_000
"""Number of updates and events that may wait for a reader. A reader that is further behind has stopped reading."""


class Watcher:
    """Reader of a chat."""

    def __init__(self, chat: str) -> None:
        self.chat = chat
        self.lost = False
        """Whether updates were dropped, so that the reader has to begin again."""
        self._waiting: list[ChatUpdate] = []
        self._events: list[Event] = []
        """Events of the last waiting update, which later events of the same answer join."""
        self._count = 0
        self._wake = asyncio.Event()

    def put(self, update: ChatUpdate) -> None:
        """Add an update. Consecutive events of an answer are joined. A lost reader receives no more updates."""
        if self.lost:
            return
        self._count += len(update.events) or 1
        if not self._joins(update):
            self._end_events()
            self._waiting.append(update)
        self._events.extend(update.events)
        self.lost = self._count > MAX_WAITING
        self._wake.set()

    def _joins(self, update: ChatUpdate) -> bool:
        last = self._waiting[-1] if self._waiting else None
        return bool(update.events) and last is not None and bool(last.events) and last.answer == update.answer

    def _end_events(self) -> None:
        """Put the joined events into the update that they belong to."""
        if self._events:
            self._waiting[-1] = ChatUpdate(answer=self._waiting[-1].answer, events=tuple(self._events))
            self._events = []

    async def take(self, patience: float) -> list[ChatUpdate]:
        """Return the updates that have arrived; [] if none arrives within `patience` seconds."""
        if not self._waiting:
            try:
                await asyncio.wait_for(self._wake.wait(), patience)
            except TimeoutError:
                return []
        return self.drain()

    def drain(self) -> list[ChatUpdate]:
        """Return the updates that have arrived."""
        self._wake.clear()
        self._end_events()
        updates, self._waiting, self._count = self._waiting, [], 0
        return updates


class Watchers:
    """The readers of all chats."""

    def __init__(self) -> None:
        self._watchers: set[Watcher] = set()

    def add(self, chat: str) -> Watcher:
        """Return a new reader of a chat."""
        watcher = Watcher(chat)
        self._watchers.add(watcher)
        return watcher

    def remove(self, watcher: Watcher) -> None:
        self._watchers.discard(watcher)

    def events(self, chat: str, answer: str, events: tuple[Event, ...]) -> None:
        """Pass on events of an answer."""
        self._put(chat, ChatUpdate(answer=answer, events=events))

    def chat(self, chat: ChatDetail) -> None:
        """Pass on a chat that has lost messages, or regained them."""
        self._put(chat.row.id, ChatUpdate(chat=chat))

    def message(self, chat: str, message: StoredMessage, leaf: str | None = None) -> None:
        """Pass on a new or changed message."""
        self._put(chat, ChatUpdate(message=message, leaf=leaf))

    def row(self, row: ChatRow, leaf: str | None = None) -> None:
        """Pass on a changed row."""
        self._put(row.id, ChatUpdate(row=row, leaf=leaf, gone=row.deleted_at is not None))

    def _put(self, chat: str, update: ChatUpdate) -> None:
        for watcher in self._watchers:
            if watcher.chat == chat:
                watcher.put(update)

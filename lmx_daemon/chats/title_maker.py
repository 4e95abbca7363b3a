"""The maker of titles: a chat's own model makes its title while the machine is idle, until another request comes."""

from collections.abc import Callable

from lmx_daemon.chats.answers import Models
from lmx_daemon.chats.chats import Chats
from lmx_daemon.chats.store.store import new_id
from lmx_daemon.chats.titles import can_title, title_from, title_request
from lmx_daemon.contract.admin.chats import ChatChange
from lmx_daemon.contract.errors import LmxError
from lmx_daemon.contract.generation.chat_answer import ChatAnswer

LOOK_SECONDS = 3.0
"""Interval between calls of `look`. The machine is idle if two in a row find no request."""
PATIENCE_SECONDS = 0.2


class TitleMaker:
    """Maker of titles for chats without one."""

    def __init__(
        self,
        chats: Chats,
        models: Models,
        *,
        enabled: Callable[[], bool],
        loaded: Callable[[], set[str]],
        running: Callable[[], int],
    ) -> None:
        """Create the maker. `loaded` returns the ids of the models in memory, `running` the number of live requests."""
        self._chats, self._models = chats, models
        self._enabled, self._loaded, self._running = enabled, loaded, running
        self._tried: set[str] = set()
        """Chats whose title was requested and generated, or failed."""
        self._seen = -1
        """Revision of the chats when `look` last found nothing to do."""
        self._idle = False

    async def look(self) -> None:
        """Make one title if the machine is idle, and was idle at the last call."""
        idle, self._idle = self._idle, self._running() == 0
        if not (idle and self._idle and self._enabled()) or self._seen == self._chats.revision:
            return
        revision, loaded = self._chats.revision, {model for model in self._loaded() if can_title(model)}
        for identity in await self._chats.untitled() if loaded else ():
            if identity not in self._tried and await self._title(identity, loaded):
                return
        if loaded:
            self._seen = revision

    async def _title(self, identity: str, loaded: set[str]) -> bool:
        """Make the title of a chat. Return whether its model was asked."""
        chat = await self._chats.get(identity)
        if chat.row.model not in loaded:
            return False
        request = title_request(chat, f"title-{new_id('')}", chat.row.model)
        if request is None:
            return False
        answer = ChatAnswer(request.id, request.model, 0.0)
        try:
            reading = await self._models.submit(request)
            try:
                while not reading.read and self._running() <= 1:
                    for event in await reading.take(PATIENCE_SECONDS):
                        answer.consume(event, 0.0)
            finally:
                self._models.release(reading)
        except LmxError:
            self._tried.add(identity)
            return True
        if answer.state != "done":
            return True  # another request came: the next idle moment tries again
        title = title_from(answer.content)
        self._tried.add(identity)
        if title:
            await self._chats.change(identity, ChatChange(title=title), titled_by="model")
        return True

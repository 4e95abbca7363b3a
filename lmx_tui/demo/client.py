"""DemoClient: a client whose daemon is a script inside this program. It opens no connection and runs no model."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec

from lmx_daemon.client.client import Client
from lmx_daemon.contract.admin.chats import (
    Ask,
    AskAgain,
    Asked,
    ChatChange,
    ChatCreate,
    ChatDetail,
    ChatExport,
    ChatRow,
    ChatUpdate,
    EditMessage,
    ExportForm,
    StoredMessage,
)
from lmx_daemon.contract.admin.config import ConfigReload, ConfigView
from lmx_daemon.contract.admin.history import RequestRecord
from lmx_daemon.contract.admin.keys import ApiKey
from lmx_daemon.contract.admin.library.disk import RemoveRequest, TrashRow, UndoRequest
from lmx_daemon.contract.admin.library.files import VerifyRequest, VerifyUpdate
from lmx_daemon.contract.admin.library.hub import (
    CardRequest,
    ModelCard,
    Offer,
    Offers,
    Outdated,
    OutdatedRow,
    RecommendRequest,
    SearchRequest,
)
from lmx_daemon.contract.admin.library.pulls import Download, PullRequest
from lmx_daemon.contract.admin.protocol import LoadRequest, UnloadRequest
from lmx_daemon.contract.admin.snapshot import LogLine, Snapshot
from lmx_daemon.contract.errors import LmxError, RequestNotFoundError, UnsupportedError
from lmx_daemon.contract.generation.preset import PresetRow
from lmx_daemon.contract.models import Instance, Model, Verdict
from lmx_daemon.settings.live_config import LiveConfig
from lmx_daemon.settings.paths import Home
from lmx_tui.demo.catalog import CAP, CARD, OFFERS, plan_of
from lmx_tui.demo.chats import DemoChats
from lmx_tui.demo.machine import DemoMachine
from lmx_tui.demo.streaming import Streaming

SNAPSHOT_SECONDS = 0.5
LOG_SECONDS = 0.5
STEP_SECONDS = 0.1
VERIFY_SECONDS = 2.0
LEAVE = "`lmx tui` without --demo opens the real one"


class DemoClient(Client):
    """A client of a scripted machine. `home` is an empty folder for the settings of the demonstration."""

    def __init__(self, home: Home, clock: Callable[[], float] = time.time) -> None:
        self.machine = DemoMachine(clock())
        self._clock = clock
        self._config = LiveConfig(home, {}, {})
        self._changed = asyncio.Event()
        self._chats = DemoChats(Streaming(self.machine, clock), clock, self._changed.set)
        self._trash: dict[str, Model] = {}

    async def close(self) -> None:
        await self._chats.close()

    async def _send(self, method: str, path: str, body: Any = None, *, seconds: float = 0.0) -> bytes:
        """Raise LmxError: a call that the script does not answer."""
        raise UnsupportedError(f"the demonstration does not answer {path.partition('?')[0]}", hint=LEAVE)

    async def _lines(
        self, method: str, path: str, body: Any = None, *, read: float | None = None
    ) -> AsyncIterator[bytes]:
        """Raise LmxError, as `_send`."""
        yield await self._send(method, path)

    # ---- state ----

    async def watch(self) -> AsyncIterator[Snapshot]:
        while True:
            self._changed.clear()
            self.machine.advance(self._clock())
            yield self.machine.snapshot(self._chats.revision)
            await self._pause(SNAPSHOT_SECONDS)

    async def _pause(self, seconds: float) -> None:
        """Wait for a change, at most `seconds`."""
        try:
            await asyncio.wait_for(self._changed.wait(), seconds)
        except TimeoutError:
            return

    async def logs(self, *, tail: int = 200, follow: bool = True) -> AsyncIterator[LogLine]:
        seen: LogLine | None = None
        while True:
            lines = list(self.machine.log)
            place = next((at for at in range(len(lines), 0, -1) if lines[at - 1] is seen), None)
            for line in lines[-tail:] if place is None else lines[place:]:
                seen = line
                yield line
            if not follow:
                return
            await asyncio.sleep(LOG_SECONDS)

    async def history(self, **conditions: Any) -> list[RequestRecord]:
        model = conditions.get("model", "")
        found = [record for record in self.machine.records if model in ("", record.model)]
        return found[-int(conditions.get("limit", 50)) :]

    async def request_record(self, request_id: str) -> RequestRecord:
        for record in reversed(self.machine.records):
            if record.id.startswith(request_id):
                return record
        raise RequestNotFoundError(f"there is no record of {request_id}")

    async def export_request(self, request_id: str) -> str:
        record = await self.request_record(request_id)
        return f"# Request {record.id}\n\n- model: {record.model}\n- outcome: {record.outcome}\n- scripted: no text\n"

    # ---- models ----

    async def load(self, request: LoadRequest) -> AsyncIterator[Instance]:
        loaded = self.machine.load(request.model)
        self._changed.set()
        while loaded.ready_at > self._clock():
            yield self.machine.instance(loaded)
            await asyncio.sleep(STEP_SECONDS)
        self.machine.advance(self._clock())
        yield self.machine.instance(loaded)
        self._changed.set()

    async def unload(self, request: UnloadRequest) -> list[Instance]:
        self.machine.unload(request.id)
        self._changed.set()
        return [self.machine.instance(loaded) for loaded in self.machine.loaded.values()]

    async def cancel(self, request_id: str) -> None:
        self.machine.advance(self._clock())
        self.machine.cancel(request_id)
        self._changed.set()

    async def plan(self, request: LoadRequest) -> Verdict:
        model = self.machine.model(request.model)
        plan, free = plan_of(model.size), CAP - self.machine.claimed
        return Verdict(
            model=model.id, plan=plan, outcome="fits" if plan.bytes <= free else "refused", cap=CAP, free=free
        )

    async def verify(self, request: VerifyRequest) -> AsyncIterator[VerifyUpdate]:
        model = self.machine.model(request.id)
        steps = int(VERIFY_SECONDS / STEP_SECONDS)
        for step in range(steps):
            yield VerifyUpdate(id=model.id, state="hashing", done=model.size * step // steps, total=model.size)
            await asyncio.sleep(STEP_SECONDS)
        self.machine.models[model.id] = msgspec.structs.replace(model, verified_at=self._clock())
        self._changed.set()
        yield VerifyUpdate(id=model.id, state="sound", files=9, against="the script of the demonstration")

    async def remove_model(self, request: RemoveRequest) -> TrashRow:
        model = self.machine.model(request.id)
        self.machine.unload(model.id)
        self._trash[model.id] = self.machine.models.pop(model.id)
        self._changed.set()
        return self._trash_row(model)

    async def undo_remove(self, request: UndoRequest) -> TrashRow:
        name = request.id or next(reversed(self._trash), "")
        if name not in self._trash:
            raise LmxError("the trash is empty")
        model = self._trash.pop(name)
        self.machine.models[name] = model
        self._changed.set()
        return self._trash_row(model)

    def _trash_row(self, model: Model) -> TrashRow:
        now = self._clock()
        return TrashRow(key=model.id, id=model.id, size=model.size, removed_at=now, purged_at=now + 86_400)

    # ---- the Hub ----

    def _offers(self) -> tuple[Offer, ...]:
        found = []
        for offer in OFFERS:
            needed = plan_of(offer.size or 0).bytes
            fit = "no" if needed > CAP else "yes" if needed <= CAP - self.machine.claimed else "after unloading"
            here = offer.id in self.machine.models
            found.append(msgspec.structs.replace(offer, memory=needed, memory_context=32_768, fit=fit, here=here))
        return tuple(found)

    async def card(self, request: CardRequest) -> ModelCard:
        return ModelCard(id=request.id, text=CARD.format(name=request.id))

    async def search(self, request: SearchRequest) -> Offers:
        words = request.words.lower().split()
        found = tuple(offer for offer in self._offers() if all(word in offer.id.lower() for word in words))
        return Offers(offers=found, asked_at=self._clock(), cap=CAP)

    async def recommend(self, request: RecommendRequest) -> Offers:
        fitting = tuple(offer for offer in self._offers() if offer.fit != "no")
        return Offers(offers=fitting, asked_at=self._clock(), cap=CAP)

    async def outdated(self) -> Outdated:
        hub = (model for model in self.machine.models.values() if model.source == "hub")
        return Outdated(rows=tuple(OutdatedRow(id=model.id, commit=model.revision or "") for model in hub))

    async def pull(self, request: PullRequest) -> Download:
        offer = next((offer for offer in OFFERS if offer.id == request.repo), None)
        if offer is None:
            names = ", ".join(offer.id for offer in OFFERS)
            raise LmxError(f"the Hub of the demonstration has no {request.repo}", hint=f"it has {names}")
        self._changed.set()
        return self.machine.pulls.add(offer, self._clock())

    async def pause_pull(self, job: str) -> Download:
        self._changed.set()
        return self.machine.pulls.pause(job, self._clock())

    async def resume_pull(self, job: str) -> Download:
        self._changed.set()
        return self.machine.pulls.resume(job, self._clock())

    async def cancel_pull(self, job: str) -> Download:
        self._changed.set()
        return self.machine.pulls.cancel(job, self._clock())

    # ---- settings ----

    async def config(self) -> ConfigView:
        return self._config.view()

    async def set_config(self, key: str, value: Any) -> ConfigReload:
        return await self._config.set(key, value)

    async def keys(self) -> list[ApiKey]:
        return []

    async def presets(self) -> list[PresetRow]:
        return []

    # ---- chats ----

    async def chats(self, **conditions: Any) -> list[ChatRow]:
        return self._chats.rows(deleted=bool(conditions.get("deleted")))

    async def search_chats(self, words: str, *, limit: int = 50) -> list[ChatRow]:
        return self._chats.rows(words=words)[:limit]

    async def chat(self, chat: str) -> ChatDetail:
        return self._chats.detail(chat)

    async def watch_chat(self, chat: str) -> AsyncIterator[ChatUpdate]:
        async for update in self._chats.watch(chat):
            yield update

    async def create_chat(self, asked: ChatCreate) -> ChatRow:
        return self._chats.create(asked)

    async def change_chat(self, chat: str, change: ChatChange) -> ChatRow:
        return self._chats.change(chat, change)

    async def ask_chat(self, chat: str, asked: Ask) -> Asked:
        return self._chats.ask(chat, asked)

    async def ask_chat_again(self, chat: str, asked: AskAgain) -> Asked:
        return self._chats.ask_again(chat, asked)

    async def edit_message(self, chat: str, asked: EditMessage) -> StoredMessage:
        return self._chats.edit(chat, asked)

    async def fork_chat(self, chat: str, message: str) -> ChatRow:
        return self._chats.fork(chat, message)

    async def delete_chat(self, chat: str) -> ChatRow:
        return self._chats.delete(chat)

    async def restore_chat(self, chat: str) -> ChatRow:
        return self._chats.delete(chat, restore=True)

    async def export_chat(self, chat: str, form: ExportForm) -> ChatExport:
        return self._chats.export(chat, form)

"""FakeClient: scripted snapshots and answers for the real app. It connects to no daemon."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
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
    RemovedMessages,
    StoredMessage,
)
from lmx_daemon.contract.admin.config import ConfigReload, ConfigRow, ConfigView
from lmx_daemon.contract.admin.defaults import RequestDefaults
from lmx_daemon.contract.admin.history import RequestRecord
from lmx_daemon.contract.admin.keys import ApiKey, CreatedKey, KeyRequest
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
    UpdateRequest,
)
from lmx_daemon.contract.admin.library.pulls import Download, PullRequest
from lmx_daemon.contract.admin.protocol import LoadRequest, UnloadRequest
from lmx_daemon.contract.admin.snapshot import LogLine, Snapshot
from lmx_daemon.contract.errors import DaemonUnreachableError, LmxError, NotFoundError
from lmx_daemon.contract.generation.events import Event
from lmx_daemon.contract.generation.preset import PresetChange, PresetRow
from lmx_daemon.contract.generation.requests import Generate, Request, Text
from lmx_daemon.contract.models import Instance, Verdict
from lmx_daemon.router.defaults import defaults_of
from lmx_daemon.settings.schema import ModelSettings
from tests.fake_chats import FakeChats
from tests.library_states import CARD, CHOICES, OFFERS, VERDICT
from tests.log_states import LOG, RECORDS
from tests.screen_states import GB, NOW, QWEN, finished
from tests.setting_states import API_KEYS, CONFIG, PRESETS


class FakeClient(Client):
    """A client that shows given snapshots, answers with given events, and records its calls in `calls`."""

    def __init__(self, snapshot: Snapshot | None = None, answer: Sequence[Event] = ()) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.requests_seen: list[Generate] = []
        self.chat_calls: list[tuple[str, Any]] = []
        self.answer = list(answer)
        self.answers: dict[str, list[Event]] = {}
        """Model -> its answer, in the place of `answer`."""
        self.hold_at: int | None = None
        """Number of events after which an answer waits until it is cancelled or loses its connection."""
        self.error: LmxError | None = None
        """Error that each call except `watch` raises."""
        self.watches = 0
        """Number of attempts to watch the snapshots."""
        self.up = snapshot is not None
        self.log: list[LogLine] = list(LOG)
        self.records: list[RequestRecord] = list(RECORDS)
        self.histories: list[dict[str, Any]] = []
        """Conditions of the questions for records."""
        self.rows: list[ConfigRow] = list(CONFIG)
        self.api_keys: list[ApiKey] = list(API_KEYS)
        self.recorded: Request = Generate(id="chat-r60", model=QWEN, prompt=Text(text="Once upon"))
        """Request whose text was kept."""
        self.plans: list[str] = []
        """Models whose plans were asked for."""
        self.verdict: Verdict | None = VERDICT
        self.verdict_of: Callable[[LoadRequest], Verdict] | None = None
        """Function that plans a load; without it, `verdict` is the plan of each."""
        self.loads: list[LoadRequest] = []
        self.searches: list[SearchRequest] = []
        self.recommends: list[RecommendRequest] = []
        self.choices: tuple[Offer, ...] = CHOICES
        """Recommended models of a daemon that does not ask the Hub."""
        self.model_card = ModelCard(id="", text=CARD)
        """The card of each model."""
        self.offers: tuple[Offer, ...] = OFFERS
        """Models of the Hub."""
        self._logged = asyncio.Event()
        self._snapshot = snapshot
        self._changed = asyncio.Event()
        self._cancelled = asyncio.Event()
        self.broken = asyncio.Event()
        """When set, streams lose their connection. Answers of chats go on: the daemon generates them."""
        self.kept = FakeChats(self.generate, self._changed.set)
        """The chats of the daemon."""

    def show(self, snapshot: Snapshot) -> None:
        self._snapshot, self.up = snapshot, True
        self._changed.set()

    def change(self, **changes: Any) -> None:
        assert self._snapshot is not None
        self.show(msgspec.structs.replace(self._snapshot, **changes))

    def go_down(self) -> None:
        self.up = False
        self.broken.set()
        self._changed.set()

    async def watch(self) -> AsyncIterator[Snapshot]:
        self.watches += 1
        while True:
            if not self.up or self._snapshot is None:
                raise DaemonUnreachableError("no lmx daemon answers at ~/.lmx/lmx.sock", hint="lmx serve --detach")
            self._changed.clear()
            self.broken.clear()
            yield msgspec.structs.replace(self._snapshot, chats=self.kept.chats.revision)
            if self._snapshot.status.draining:
                return
            await self._changed.wait()

    async def generate(self, request: Request) -> AsyncIterator[Event]:
        assert isinstance(request, Generate)
        self.requests_seen.append(request)
        self._cancelled.clear()
        self._check()
        for number, event in enumerate(self.answers.get(request.model, self.answer)):
            if number == self.hold_at:
                await self._cancelled.wait()
                yield finished(reason="cancelled", tokens=number)
                return
            yield msgspec.structs.replace(event, id=request.id)
            await asyncio.sleep(0)

    async def chats(self, **options: Any) -> list[ChatRow]:
        return await self.kept.chats.listed(limit=500, deleted=options.get("deleted", False))

    async def search_chats(self, words: str, *, limit: int = 50) -> list[ChatRow]:
        return await self.kept.chats.search(words, limit)

    async def chat_prompts(self, *, limit: int = 200) -> list[str]:
        return await self.kept.chats.prompts(limit)

    async def chat(self, chat: str) -> ChatDetail:
        return await self.kept.chats.get(chat)

    async def watch_chat(self, chat: str) -> AsyncIterator[ChatUpdate]:
        updates = self.kept.chats.watch(chat)
        broken = asyncio.ensure_future(self.broken.wait())
        try:
            while True:
                following = asyncio.ensure_future(anext(updates, None))
                await asyncio.wait([following, broken], return_when=asyncio.FIRST_COMPLETED)
                if broken.done():
                    following.cancel()
                    raise DaemonUnreachableError("no lmx daemon answers")
                if (update := following.result()) is not None:
                    yield update
        finally:
            broken.cancel()

    async def create_chat(self, asked: ChatCreate) -> ChatRow:
        return await self._chat("create_chat", asked, self.kept.chats.create(asked))

    async def change_chat(self, chat: str, change: ChatChange) -> ChatRow:
        return await self._chat("change_chat", change, self.kept.chats.change(chat, change))

    async def ask_chat(self, chat: str, asked: Ask) -> Asked:
        return await self._chat("ask_chat", asked, self.kept.chats.ask(chat, asked))

    async def ask_chat_again(self, chat: str, asked: AskAgain) -> Asked:
        return await self._chat("ask_chat_again", asked, self.kept.chats.ask_again(chat, asked))

    async def edit_message(self, chat: str, asked: EditMessage) -> StoredMessage:
        return await self._chat("edit_message", asked, self.kept.chats.edit(chat, asked))

    async def fork_chat(self, chat: str, message: str) -> ChatRow:
        return await self._chat("fork_chat", message, self.kept.chats.fork(chat, message))

    async def remove_messages(self, chat: str, message: str) -> RemovedMessages:
        return await self._chat("remove_messages", message, self.kept.chats.remove_messages(chat, message))

    async def restore_messages(self, chat: str, removal: str = "") -> RemovedMessages:
        return await self._chat("restore_messages", removal, self.kept.chats.restore_messages(chat, removal))

    async def delete_chat(self, chat: str) -> ChatRow:
        return await self._chat("delete_chat", chat, self.kept.chats.delete(chat))

    async def restore_chat(self, chat: str) -> ChatRow:
        return await self._chat("restore_chat", chat, self.kept.chats.restore(chat))

    async def export_chat(self, chat: str, form: ExportForm) -> ChatExport:
        return await self.kept.chats.export(chat, form)

    async def _chat(self, name: str, argument: Any, call: Any) -> Any:
        """Record a call that changes a chat, and await it."""
        self.chat_calls.append((name, argument))
        try:
            return await call
        finally:
            self._changed.set()

    async def load(self, request: LoadRequest) -> AsyncIterator[Instance]:
        self.loads.append(request)
        self._call("load", request.model)
        yield Instance(id="new", model=request.model, state="ready")

    async def unload(self, request: UnloadRequest) -> list[Instance]:
        self._call("unload", request.id)
        return []

    async def cancel(self, request_id: str) -> None:
        self._call("cancel", request_id)
        self._cancelled.set()

    async def pull(self, request: PullRequest) -> Download:
        self._call("pull", request.repo)
        return Download(id="d9", repo=request.repo, state="queued")

    async def pause_pull(self, job: str) -> Download:
        self._call("pause_pull", job)
        return Download(id=job, repo="x", state="paused")

    async def resume_pull(self, job: str) -> Download:
        self._call("resume_pull", job)
        return Download(id=job, repo="x", state="queued")

    async def cancel_pull(self, job: str) -> Download:
        self._call("cancel_pull", job)
        return Download(id=job, repo="x", state="cancelled")

    async def update_model(self, request: UpdateRequest) -> AsyncIterator[Download]:
        self._call("update", request.id)
        yield Download(id="d8", repo=request.id, state="done")

    async def outdated(self) -> Outdated:
        self._call("outdated", None)
        rows = (OutdatedRow(id=QWEN, commit="3f1c0d2a9b77", newer="9c41e7b05d2f"), OutdatedRow(id="a/b", commit="1"))
        return Outdated(rows=rows)

    async def logs(self, *, tail: int = 200, follow: bool = True) -> AsyncIterator[LogLine]:
        for line in self.log[-tail:]:
            yield line
        seen = len(self.log)
        while follow:
            await self._logged.wait()
            self._logged.clear()
            self._check()
            for line in self.log[seen:]:
                yield line
            seen = len(self.log)

    def write_log(self, *lines: LogLine) -> None:
        self.log += lines
        self._logged.set()

    async def history(self, **conditions: Any) -> list[RequestRecord]:
        self.histories.append(conditions)
        return list(self.records)

    async def export_request(self, request_id: str) -> str:
        self._call("export", request_id)
        return f"# Request {request_id}"

    async def recorded_request(self, request_id: str) -> Request:
        self._call("recorded", request_id)
        return self.recorded

    async def request_record(self, request_id: str) -> RequestRecord:
        self._call("record", request_id)
        return next(record for record in self.records if record.id == request_id)

    async def plan(self, request: LoadRequest) -> Verdict:
        self.plans.append(request.model)
        if self.verdict_of is not None:
            return self.verdict_of(request)
        if self.verdict is None:
            raise LmxError("there is no plan")
        return msgspec.structs.replace(self.verdict, model=request.model)

    async def search(self, request: SearchRequest) -> Offers:
        self._call("search", request.words)
        self.searches.append(request)
        return Offers(offers=tuple(offer for offer in self.offers if request.words.lower() in offer.id.lower()))

    async def recommend(self, request: RecommendRequest) -> Offers:
        self.recommends.append(request)
        if not request.ask_hub:
            return Offers(offers=self.choices, cap=12 * GB)
        return Offers(offers=self.offers[:2])

    async def card(self, request: CardRequest) -> ModelCard:
        self._call("card", request)
        return msgspec.structs.replace(self.model_card, id=request.id)

    async def remove_model(self, request: RemoveRequest) -> TrashRow:
        self._call("remove", request.id)
        return TrashRow(key="t1", id=request.id, size=4_600_000_000, removed_at=NOW, purged_at=NOW + 86_400)

    async def undo_remove(self, request: UndoRequest) -> TrashRow:
        self._call("undo", request.id)
        return TrashRow(key="t1", id=QWEN, size=4_600_000_000, removed_at=NOW, purged_at=NOW + 86_400)

    async def verify(self, request: VerifyRequest) -> AsyncIterator[VerifyUpdate]:
        self._call("verify", request.id)
        yield VerifyUpdate(id=request.id, state="hashing", done=1, total=2)
        yield VerifyUpdate(id=request.id, state="sound", files=9, against="the manifest of the Hub")

    async def set_config(self, key: str, value: Any) -> ConfigReload:
        self._call("set_config", (key, value))
        rows = [
            msgspec.structs.replace(row, value=value, source="file") if row.key == key else row for row in self.rows
        ]
        self.rows = rows
        return ConfigReload(changed=(key,))

    async def config(self) -> ConfigView:
        return ConfigView(file="/home/user/.lmx/config.toml", rows=tuple(self.rows))

    async def keys(self) -> list[ApiKey]:
        return list(self.api_keys)

    async def create_key(self, request: KeyRequest) -> CreatedKey:
        self._call("create_key", request.name)
        key = ApiKey(id="k9", name=request.name, scopes=request.scopes, created_at=NOW)
        self.api_keys.append(key)
        return CreatedKey(key=key, secret="lmx-k9-secret")

    async def revoke_key(self, identity: str) -> ApiKey:
        self._call("revoke_key", identity)
        return next(key for key in self.api_keys if key.id == identity)

    async def presets(self) -> list[PresetRow]:
        return list(PRESETS)

    async def request_defaults(self, model: str, preset: str = "") -> RequestDefaults:
        if preset not in ("", *(row.name for row in PRESETS)):
            raise NotFoundError(f"there is no preset {preset!r}", param="preset")
        row = next((row for row in PRESETS if row.name == preset), None)
        own, generation = ModelSettings(max_tokens=4096), {"temperature": 0.6, "top_k": 20}
        return RequestDefaults(model=model, values=defaults_of(row.preset if row else None, own, generation))

    async def change_preset(self, change: PresetChange) -> PresetRow:
        self._call("change_preset", change)
        return PresetRow(name=change.name)

    async def remove_preset(self, name: str) -> PresetRow:
        self._call("remove_preset", name)
        return PresetRow(name=name)

    async def close(self) -> None:
        return None

    def _call(self, name: str, argument: Any) -> None:
        self.calls.append((name, argument))
        self._check()

    def _check(self) -> None:
        if self.error is not None:
            raise self.error

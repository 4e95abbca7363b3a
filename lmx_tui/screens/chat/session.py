"""ChatSession: the open chat of the Chat screen, its stream, and the model that answers next."""

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import msgspec
from rich.text import Text

from lmx_daemon.client.conversation import Absence, absence, context_length_of, default_model
from lmx_daemon.contract.admin.chats import ChatChange, ChatUpdate
from lmx_daemon.contract.admin.snapshot import Snapshot
from lmx_daemon.contract.errors import ErrorBody
from lmx_daemon.contract.models import GUIDE
from lmx_tui.formatting import one_line
from lmx_tui.messages import ChoiceMade, Connection, Notified, QueryRequested, StreamRequested, StreamStopped
from lmx_tui.screens.page import Page
from lmx_tui.widgets.chat.meta import MetaLine
from lmx_tui.widgets.chat.open_chat import OpenChat
from lmx_tui.widgets.chat.prompt import PromptInput
from lmx_tui.widgets.chat.transcript import DrawnMessage, Transcript

FLUSH_SECONDS = 1 / 12
"""Interval at which received tokens are drawn. It looks as smooth as single tokens, at a fraction of the work."""
AUTO = ""
STREAM = "chat"
PAIR_WIDTH = 100
"""Width of a terminal from which two answers are drawn in columns; below it they are branches."""
CHARACTERS_PER_TOKEN = 4
"""Estimate for a draft, whose tokens the model has not counted."""


class ChatSession(Page):
    """A page with an open chat."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self._chat = OpenChat()
        self._model = AUTO
        """Model chosen for the next answer. With AUTO, a chat keeps its model, and a new one gets the last used."""
        self._following = ""
        """Id of the chat whose stream is read."""
        self._updates: list[ChatUpdate] = []
        self._flushed = 0.0
        self._flushing = False
        self._lost = False
        """Whether the stream of the chat has ended and is to begin again with the next snapshot."""
        self._lost_with: tuple[Snapshot | None, Connection | None] = None, None
        """Last snapshot and connection at the end of the stream."""
        self._sending = False
        """Whether a message is being sent to the daemon."""
        self._asked_model = AUTO
        """Model of the last message that was sent. With that message, a chosen model becomes the model of the chat."""

    # ---- the chat ----

    async def open(self, identity: str) -> None:
        """Show a chat of the daemon."""
        self._chat = OpenChat()
        self._chat.loaded = False
        self._updates = []
        self.post_message(ChoiceMade({"chat": identity}))
        self._follow(identity)

    async def begin_new(self) -> None:
        """Show an empty chat. The daemon creates the chat with its first message."""
        settings = msgspec.structs.replace(self._chat.settings, system=None)
        self.post_message(StreamStopped(STREAM))
        self._chat, self._updates, self._lost = OpenChat(settings=settings), [], False
        self.post_message(ChoiceMade({"chat": ""}))
        self._following = ""
        self.remove_class("-pair")
        await self.query_one(Transcript).show_empty(self._welcome())
        self._redrawn()

    def _follow(self, identity: str) -> None:
        self._following, self._lost = identity, False
        each, ended = partial(self._arrived, identity), partial(self._stream_ended, identity)
        self.post_message(StreamRequested(STREAM, lambda client: client.watch_chat(identity), each, ended))

    def _arrived(self, identity: str, update: ChatUpdate) -> None:
        """Collect updates, which are drawn together."""
        if identity != self._following:
            return
        self._updates.append(update)
        if self._flushing:
            return
        self._flushing = True
        wait = self._flushed + FLUSH_SECONDS - time.monotonic()
        if wait > 0 and update.chat is None:
            self.set_timer(wait, self._flush)
        else:
            self.call_next(self._flush)

    async def _flush(self) -> None:
        self._flushing, self._flushed = False, time.monotonic()
        updates, self._updates = self._updates, []
        opened = not self._chat.loaded and any(update.chat is not None for update in updates)
        grew = {update.answer for update in updates if update.events}
        grew |= {update.message.id for update in updates if update.message is not None}
        if any(update.gone for update in updates):
            await self.begin_new()
            return
        for update in updates:
            self._chat.apply(update, self._clock())
        if self._model and self._chat.model == self._model == self._asked_model:
            self._model = AUTO
        await self._draw_branch(grew)
        if opened:
            self._opened(updates)
        self._redrawn()

    def _opened(self, updates: list[ChatUpdate]) -> None:
        """Begin at the end of a chat that has just been opened."""
        self.query_one(Transcript).anchor()

    async def _draw_branch(self, grew: set[str]) -> None:
        chat, turns, places = self._chat, [], self._chat.places()
        for message in chat.path:
            answer = chat.answer_of(message) if message.role == "assistant" else None
            turns.append(DrawnMessage(message, places[message.id], answer, message.id in grew))
        transcript = self.query_one(Transcript)
        columns = chat.columns if self.size.width >= PAIR_WIDTH else []
        self.set_class(bool(columns), "-pair")
        if columns and turns:
            first, second = map(chat.answer_of, columns)
            selected = 0 if chat.leaf == columns[0].id else 1
            turns[-1] = DrawnMessage(columns[0], (1, 1), first, beside=second, selected=selected)
        added = bool(turns) and transcript.current is None and self._chat.busy and not transcript.has_more
        if turns:
            await transcript.show_branch(turns)
            if added:
                transcript.anchor()
        elif chat.loaded:
            await transcript.show_empty(self._welcome())

    def _stream_ended(self, identity: str, error: ErrorBody | None) -> None:
        if identity != self._following:
            return
        if error is not None and error.code == "chat_not_found":
            self.post_message(ChoiceMade({"chat": ""}))
            self.call_later(self.begin_new)
            return
        self._lost, self._lost_with = True, (self.snapshot, self.view.connection)
        self._redrawn()

    def _redrawn(self) -> None:
        """Draw the parts of the screen that depend on the chat, besides its messages."""
        self.refresh_bindings()
        if self.snapshot is not None:
            self.show(self.snapshot)
        self._show_meta()

    # ---- calls ----

    def _call(self, name: str, ask: Callable[[Any], Awaitable[Any]], answer: Callable[[Any], object]) -> None:
        """Ask the daemon. An error is shown as a toast."""
        self.post_message(QueryRequested(name, ask, answer))

    def _change(self, **changes: Any) -> None:
        """Change fields of the open chat at the daemon."""
        identity = self._chat.id
        if identity:
            change = ChatChange(**changes)
            self._call(f"change {'-'.join(changes)}", lambda client: client.change_chat(identity, change), ignored)

    # ---- the model ----

    def _chosen(self) -> str | None:
        return self._model or self._chat.model or self._default_model()

    def _default_model(self) -> str | None:
        return default_model(self.snapshot.models, self.snapshot.instances) if self.snapshot is not None else None

    def _absence(self) -> Absence | None:
        """Return why the model of this chat cannot answer now; None if it can, or if no model has answered yet."""
        model, snapshot = self._chat.model, self.snapshot
        if self._model or model is None or snapshot is None or self._chat.busy or not self._chat.path:
            return None
        if self.view.arrived <= self._chat.ended_at:
            return None  # an older snapshot may not list the loaded model yet
        return absence(model, snapshot.models, snapshot.instances)

    def _welcome(self) -> Text:
        """Return the text of an empty chat: the model that answers, and how to choose another."""
        model = self._chosen()
        text = Text("Ask anything. Nothing leaves this machine.\n\n")
        if model == GUIDE:
            text.append(f"{GUIDE} answers. It is the tiny built-in model for questions about lmx.\n")
        elif model is not None:
            text.append(f"{one_line(model)} answers.\n")
        return text.append("^o sets model and parameters, ^l shows all chats, / lists commands, f1 shows all keys.")

    # ---- the line of figures ----

    def _show_meta(self) -> None:
        transcript = self.query_one(Transcript)
        length, draft = self._other_context(), self._draft_tokens()
        lost = "reconnecting" if self._lost else ""
        self.query_one(MetaLine).show(
            self._chat.answer, self._clock(), more=transcript.has_more, context=length, draft=draft, lost=lost
        )

    def _draft_tokens(self) -> int:
        return -(-len(self.query_one(PromptInput).text) // CHARACTERS_PER_TOKEN)

    def _other_context(self) -> int | None:
        """Return the context length of the next model if it differs from the one that answered last, else None."""
        answer, model = self._chat.answer, self._chosen()
        if self.snapshot is None or answer is None or not answer.ended or model is None or model == answer.model:
            return None
        return context_length_of(model, self.snapshot)

    def show(self, snapshot: Snapshot) -> None:
        """Read the chat's stream again once the daemon is online, with the next snapshot if it never was offline."""
        before, connection = self._lost_with
        if self._lost and self.view.online and (snapshot is not before or self.view.connection is not connection):
            self._follow(self._following)

    def _model_to_ask(self) -> str | None:
        """Return the model to ask now. If asking is impossible, post the reason and return None."""
        model = self._chosen()
        if self._chat.busy or self._sending:
            self.post_message(Notified("an answer is in progress", "esc stops it", "warning"))
        elif not self.view.online:
            self.post_message(Notified("offline: not sent", "the text stays in the prompt", "warning"))
        elif model is None:
            self.post_message(Notified("there is no model", "press p on the Models screen to pull one", "warning"))
        else:
            return model
        return None


def ignored(answer: object) -> None:
    """Ignore an answer, whose effect arrives by the stream."""

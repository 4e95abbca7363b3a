"""ChatAsking: prompts, requests for further answers, edits, drafts and attached files, sent to the daemon."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple

import msgspec

from lmx_daemon.client.conversation import ABSENCES
from lmx_daemon.contract.admin.chats import (
    Ask,
    AskAgain,
    Asked,
    Attachment,
    ChatChange,
    ChatCreate,
    EditMessage,
    StoredMessage,
)
from lmx_daemon.contract.errors import ErrorBody, LmxError
from lmx_daemon.contract.units import size
from lmx_tui.formatting import one_line, short_name, shorten
from lmx_tui.messages import CancelRequested, Notified, QueryRequested
from lmx_tui.screens.chat.session import ChatSession
from lmx_tui.screens.dialogs.questions import Pick
from lmx_tui.widgets.chat.meta import NoteLine
from lmx_tui.widgets.chat.prompt import PromptInput
from lmx_tui.widgets.chat.transcript import Transcript

LOAD_AGAIN, CHOOSE = "load", "choose"
CLIENT = {"client": "lmx tui", "tenant": "tui"}
DRAFT_SECONDS = 1.0
"""Pause in typing after which the draft is sent to the daemon."""


class SentMessage(NamedTuple):
    """A message that the daemon has accepted."""

    chat: str
    answers: tuple[str, ...] = ()
    """Ids of the answers of two models; () if one model was asked."""
    refused: ErrorBody | None = None
    """Reason why the second model was not asked."""


class ChatAsking(ChatSession):
    """A page that sends messages."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self._files: tuple[Attachment, ...] = ()
        """Files attached to the next message."""
        self._edited: StoredMessage | None = None
        """Message of which a copy is edited in the prompt."""
        self._second = ""
        """Second model to ask, so that two answers can be compared; "" for none."""
        self._saved_draft = ""
        self._drafting = False

    async def _with_model(self, go_on: Callable[[str], Awaitable[None]]) -> None:
        """Call `go_on` with the model that answers next. If it is absent, ask the user first."""
        model = self._model_to_ask()
        if model is None:
            return
        reason = self._absence()
        if reason is None:
            await go_on(model)
            return

        async def answered(choice: str | None) -> None:
            if choice == LOAD_AGAIN and self._model_to_ask() == model:
                await go_on(model)
            elif choice == CHOOSE:
                self.action_pick_model()

        options = [(LOAD_AGAIN, "load it again and continue")] if reason == "unloaded" else []
        title = f"{shorten(short_name(model), 40)} {ABSENCES[reason]}"
        self.app.push_screen(Pick(title, [*options, (CHOOSE, "choose another model")]), answered)

    def action_pick_model(self) -> None:
        raise NotImplementedError

    async def _ask(self, text: str, model: str) -> None:
        """Send the prompt. Its text is restored if the daemon does not accept it."""
        edited = self._edited
        if edited is not None and edited.role == "assistant":
            self._save_edit(edited, text)
            return
        identity, settings = self._chat.id, self._chat.settings
        parent = None if edited is None else edited.parent or ""
        asked = Ask(text=text, model=model, parent=parent, attachments=self._files, **CLIENT)
        second = "" if self._second == model else self._second

        async def ask(client: Any) -> SentMessage:
            chat = identity or (await client.create_chat(ChatCreate(model=model, settings=settings))).id
            answered = await client.ask_chat(chat, asked)
            return await _ask_second(client, chat, answered, second) if second else SentMessage(chat)

        self._sending, self._asked_model = True, model
        self.query_one(PromptInput).remember(text)
        self.post_message(QueryRequested("ask", ask, self._asked, partial(self._not_sent, text, self._files)))
        self._clear_prompt()

    async def _asked(self, sent: SentMessage) -> None:
        self._sending = False
        if sent.chat != self._chat.id:
            await self.open(sent.chat)
        self._chat.compared = sent.answers
        if sent.refused is not None:
            words = f"{short_name(self._second)} was not asked: {sent.refused.message}"
            self.post_message(Notified(words, sent.refused.hint, "warning"))
        await self._draw_branch(set())
        self.query_one(Transcript).anchor()

    def _not_sent(self, text: str, files: tuple[Attachment, ...], error: ErrorBody) -> None:
        """Restore the text of the prompt unless the user has begun another one, and show the reason of the failure."""
        self._sending = False
        prompt = self.query_one(PromptInput)
        if not prompt.text:
            prompt.text, self._files = text, files
            prompt.move_cursor(prompt.document.end)
            self._show_note()
        self.post_message(Notified(error.message, error.hint, "error"))

    def _again(self, message: StoredMessage, model: str) -> None:
        """Request a further answer to a prompt, or the rest of an answer."""
        identity = self._chat.id
        asked = AskAgain(message=message.id, model=model, **CLIENT)
        self._call("again", lambda client: client.ask_chat_again(identity, asked), self._follow_end)

    def _follow_end(self, answer: object) -> None:
        self.query_one(Transcript).anchor()

    # ---- editing ----

    def _edit(self, message: StoredMessage) -> None:
        """Put a message into the prompt. Sending it makes a branch."""
        self._edited = message
        prompt = self.query_one(PromptInput)
        prompt.text = message.text
        prompt.move_cursor(prompt.document.end)
        prompt.focus()
        self._show_note()

    def _save_edit(self, edited: StoredMessage, text: str) -> None:
        identity, asked = self._chat.id, EditMessage(message=edited.id, text=text)
        self._call("edit", lambda client: client.edit_message(identity, asked), self._edit_saved)

    def _edit_saved(self, message: object) -> None:
        self._clear_prompt()
        self.post_message(Notified("the edited answer is a branch of its own", "in the transcript, c continues it"))

    def _clear_prompt(self) -> None:
        self._edited, self._files, self._saved_draft = None, (), ""
        self.query_one(PromptInput).clear()
        self._show_note()

    # ---- files ----

    def attach(self, file: Attachment) -> None:
        """Add a file to the next message."""
        self._files = (*self._files, file)
        self._show_note()

    def detach(self) -> None:
        """Remove the file that was added last."""
        self._files = self._files[:-1]
        self._show_note()

    def _show_note(self) -> None:
        """Draw the state of the next message besides its text: edit, second model and attached files."""
        parts = []
        if self._edited is not None:
            kind = "a new branch" if self._edited.role == "user" else "an edited answer"
            parts.append(f"✎ {kind} · esc leaves it")
        if self._second:
            parts.append(f"⇄ also asks {shorten(short_name(self._second), 40)} · f12 ends it")
        parts += [f"▤ {one_line(file.name)} {size(len(file.data))}" for file in self._files]
        if self._files:
            parts.append("backspace removes")
        self.query_one(NoteLine).show_note("  ".join(parts))

    # ---- drafts ----

    def _draft_changed(self) -> None:
        if not self._drafting:
            self._drafting = True
            self.set_timer(DRAFT_SECONDS, self._save_draft)

    def _save_draft(self) -> None:
        """Store the text of the prompt at the daemon, so that it outlives this program."""
        self._drafting = False
        text = self.query_one(PromptInput).text
        if text == self._saved_draft or self._sending or self._edited is not None or not self.view.online:
            return
        identity, model, settings = self._chat.id, self._chosen() or "", self._chat.settings
        self._saved_draft = text
        if identity:
            self._change(draft=text)
        elif text.strip():
            asked = ChatCreate(model=model, settings=settings)

            async def keep(client: Any) -> str:
                row = await client.create_chat(asked)
                await client.change_chat(row.id, ChatChange(draft=text))
                return str(row.id)

            self._call("draft", keep, self._draft_kept)

    async def _draft_kept(self, identity: str) -> None:
        if not self._chat.id and not self._sending:
            await self.open(identity)

    # ---- verbs ----

    def action_stop(self) -> None:
        for message in self._chat.growing:
            self.post_message(CancelRequested(message.request_id))

    def _settings_changed(self, **changes: Any) -> None:
        """Change settings of the open chat, or of the new one."""
        self._chat.settings = msgspec.structs.replace(self._chat.settings, **changes)
        self._change(settings=self._chat.settings)
        self._redrawn()


async def _ask_second(client: Any, chat: str, asked: Asked, model: str) -> SentMessage:
    """Send the prompt to a second model. Its answer is a branch beside the first one, which stays selected."""
    assert asked.user is not None
    try:
        again = await client.ask_chat_again(chat, AskAgain(message=asked.user.id, model=model, **CLIENT))
    except LmxError as error:
        return SentMessage(chat, refused=error.body())
    await client.change_chat(chat, ChatChange(leaf=asked.answer.id, model=asked.answer.model))
    return SentMessage(chat, (asked.answer.id, again.answer.id))

"""ChatScreen: a chat with a model, between the list of chats and live memory and speed."""

from collections.abc import Callable
from functools import partial
from typing import Any

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import TextArea

from lmx_daemon.client.conversation import ABSENCES
from lmx_daemon.contract.admin.chats import ChatUpdate
from lmx_daemon.contract.admin.snapshot import Snapshot
from lmx_tui import keys
from lmx_tui.choices import Choices
from lmx_tui.formatting import one_line, shorten
from lmx_tui.messages import QueryRequested
from lmx_tui.screens.chat.session import AUTO
from lmx_tui.screens.chat.slash_commands import ChatCommands
from lmx_tui.screens.dialogs.questions import Pick
from lmx_tui.widgets.chat.commands import suggestions
from lmx_tui.widgets.chat.meta import MetaLine, NoteLine
from lmx_tui.widgets.chat.prompt import HISTORY, PromptInput
from lmx_tui.widgets.chat.transcript import Transcript
from lmx_tui.widgets.frame.pane import Pane
from lmx_tui.widgets.models.model_rows import instances_of, load_words
from lmx_tui.widgets.monitor.panes import MemoryPane, RatePane

WINDOW = 60
"""Seconds that the graphs show."""
PLACEHOLDER = "Message  (enter send · shift+enter or ^j newline · @ file · / command)"


class ChatScreen(ChatCommands):
    """The Chat screen."""

    BINDINGS = keys.CHAT
    AUTO_FOCUS = "PromptInput"
    mode = "chat"
    offline_hint = "the text stays · ^p can start the daemon"

    def __init__(self, symbols: str, clock: Callable[[], float], choices: Choices) -> None:
        super().__init__(clock)
        self._symbols = symbols
        self._kept = choices.chat
        """Id of the chat that was open when the last run ended."""
        self._history_read = False

    def compose_body(self) -> ComposeResult:
        with Horizontal(id="chat-row"):
            yield from self.compose_list()
            with Pane("Chat", id="chat"):
                yield Transcript()
                yield MetaLine()
                yield NoteLine()
                with Vertical(id="prompt-box"):
                    yield PromptInput(PLACEHOLDER)
            with Vertical(id="chat-side"):
                yield MemoryPane(self._symbols)
                yield RatePane(self._symbols)

    @on(events.Mount)
    async def _ready(self) -> None:
        self.query_one(PromptInput).cursor_blink = False
        self.set_interval(0.25, self._tick)
        self.watch(self.query_one(Transcript), "scroll_y", self._show_meta, init=False)
        if self._kept:
            await self.open(self._kept)
        else:
            await self.query_one(Transcript).show_empty(self._welcome())

    def show(self, snapshot: Snapshot) -> None:
        super().show(snapshot)
        if self.view.online and not self._history_read:
            self._read_history()
        self.query_one(MemoryPane).show(snapshot, WINDOW)
        self.query_one(RatePane).show(snapshot, WINDOW)
        if not self._chat.path and self._chat.loaded:
            self.query_one(Transcript).update_empty(self._welcome())
        self.query_one("#chat", Pane).titled(self._title(), self._subtitle(snapshot))
        self._show_meta()
        self.show_list(snapshot)

    def _read_history(self) -> None:
        """Read the messages sent in earlier runs, once. The prompt itself records those of this run."""
        self._history_read = True
        prompt = self.query_one(PromptInput)
        read = partial(_prompts, most=HISTORY)
        self.post_message(QueryRequested("history", read, prompt.recall, lambda error: None))

    def _title(self) -> str:
        row = self._chat.row
        if row is None or not self._chat.path:
            return "Chat"
        return f"Chat · {shorten(one_line(row.name), max(12, self.size.width // 2))}"

    def _subtitle(self, snapshot: Snapshot) -> str:
        model = self._chosen()
        if model is None:
            return "no model"
        instance = instances_of(snapshot).get(model)
        if (reason := self._absence()) is not None:
            state = f" · {ABSENCES[reason]}"
        elif instance is None:
            state = " · loads on demand"
        else:
            state = "" if instance.state == "ready" else f" · {load_words(instance)}"
        return f"{one_line(model)}{state}{self._settings_words()}"

    def _settings_words(self) -> str:
        settings = self._chat.settings
        parts = [] if settings.thinking is None else [f"thinking {'on' if settings.thinking else 'off'}"]
        if settings.preset:
            parts.append(f"preset {shorten(one_line(settings.preset), 16)}")
        if settings.system:
            parts.append(f"system: {shorten(one_line(settings.system), 16)}")
        if settings.sampling.temperature is not None:
            parts.append(f"temp {settings.sampling.temperature:g}")
        return "".join(f" · {part}" for part in parts)

    def _tick(self) -> None:
        if self.is_current and self._chat.busy:
            self._show_meta()

    def _opened(self, updates: list[ChatUpdate]) -> None:
        super()._opened(updates)
        prompt = self.query_one(PromptInput)
        draft = next((update.chat.draft for update in updates if update.chat is not None), "")
        if draft and not prompt.text:
            prompt.text = self._saved_draft = draft
            prompt.move_cursor(prompt.document.end)

    # ---- prompt ----

    @on(PromptInput.Sent)
    async def _sent(self, event: PromptInput.Sent) -> None:
        if not await self.run_command(event.text):
            await self._with_model(partial(self._ask, event.text))

    @on(TextArea.Changed)
    def _typed(self) -> None:
        self._show_meta()
        self.query_one(NoteLine).show_hint(suggestions(self.query_one(PromptInput).text))
        self._draft_changed()

    @on(PromptInput.Scrolled)
    def _scroll(self, event: PromptInput.Scrolled) -> None:
        self.query_one(Transcript).scroll_pages(event.pages)

    # ---- verbs ----

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        busy = {"stop": self._chat.busy, "leave": not self._chat.busy, "choose_answer": bool(self._chat.columns)}
        return busy.get(action, super().check_action(action, parameters))

    def action_leave(self) -> None:
        if self._edited is not None:
            self._clear_prompt()
        elif self.query_one(PromptInput).has_focus:
            self.query_one(Transcript).focus()
        else:
            self.action_focus_prompt()

    def action_focus_prompt(self) -> None:
        self.query_one(PromptInput).focus()

    async def action_new(self) -> None:
        """Begin a new chat. A running answer continues in its own chat."""
        self._save_draft()
        self._clear_prompt()
        self._model = AUTO
        await self.begin_new()
        self.action_focus_prompt()

    def action_pick_model(self) -> None:
        if self.snapshot is None:
            return
        options = [(AUTO, "auto: the model used last; a chat keeps its model"), *self.model_options()]
        self.app.push_screen(Pick("Chat with", options, self._model), self.choose)

    def choose(self, model: str | None) -> None:
        """Choose the model that answers from now on. With AUTO, the chat keeps its model."""
        if model is not None:
            self._model = model
            if model:
                self._change(model=model)
            self._redrawn()

    def set_thinking(self, thinking: bool | None) -> None:
        self._settings_changed(thinking=thinking)


async def _prompts(client: Any, most: int) -> list[str]:
    """Return the messages that the user has sent, the oldest first."""
    return list(reversed(await client.chat_prompts(limit=most)))

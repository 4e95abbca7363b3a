"""ChatScreen: a conversation with a model, beside live memory and speed. It owns the Conversation; the app sends it."""

from collections.abc import Awaitable, Callable
from functools import partial

from rich.text import Text
from textual import events, on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from lmx_daemon.client.conversation import ABSENCES, Absence, Conversation, absence, context_length_of, default_model
from lmx_daemon.contract.admin.snapshot import Snapshot
from lmx_daemon.contract.events import Event
from lmx_daemon.contract.models import GUIDE
from lmx_daemon.contract.requests import Generate
from lmx_daemon.contract.units import size
from lmx_tui import keys
from lmx_tui.formatting import one_line, short_name, shorten
from lmx_tui.messages import AnswerRequested, CancelRequested, CopyRequested, Notified
from lmx_tui.screens.dialogs import Pick
from lmx_tui.screens.page import Page
from lmx_tui.widgets.chat.blocks import last_code_block
from lmx_tui.widgets.chat.meta import MetaLine
from lmx_tui.widgets.chat.prompt import PromptInput
from lmx_tui.widgets.chat.transcript import AnswerView, ThinkingView, Transcript
from lmx_tui.widgets.frame.pane import Pane
from lmx_tui.widgets.models.model_rows import instances_of, load_words
from lmx_tui.widgets.monitor.panes import MemoryPane, RatePane

WINDOW = 60
"""Seconds that the graphs show."""
AUTO = ""
LOAD_AGAIN, CHOOSE = "load", "choose"
PLACEHOLDER = "Message  (enter send · shift+enter or ^j newline)"


class ChatScreen(Page):
    """The Chat screen."""

    BINDINGS = keys.CHAT
    AUTO_FOCUS = "PromptInput"
    mode = "chat"
    offline_hint = "the text stays · ^p can start the daemon"

    def __init__(self, symbols: str, clock: Callable[[], float]) -> None:
        super().__init__()
        self._symbols = symbols
        self._clock = clock
        self._conversation = _new_conversation()
        self._answer_view: AnswerView | None = None
        self._ended_at = 0.0
        """Time at which the last answer ended."""
        self._model = AUTO
        """Chosen model. With AUTO, a conversation begins with the model used last, and keeps it."""

    def compose_body(self) -> ComposeResult:
        with Horizontal(id="chat-row"):
            with Pane("Chat", id="chat"):
                yield Transcript()
                yield MetaLine()
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
        await self.query_one(Transcript).show_empty(self._welcome())

    def show(self, snapshot: Snapshot) -> None:
        self.query_one(MemoryPane).show(snapshot, WINDOW)
        self.query_one(RatePane).show(snapshot, WINDOW)
        turns = len(self._conversation.turns)
        if not turns:
            self.query_one(Transcript).update_empty(self._welcome())
        self.query_one("#chat", Pane).titled(f"Chat{f'  {turns}' if turns else ''}", self._subtitle(snapshot))
        self._show_meta()

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
        thinking = {None: "", True: " · thinking on", False: " · thinking off"}[self._conversation.thinking]
        return f"{one_line(model)}{state}{thinking}"

    def _default_model(self) -> str | None:
        return default_model(self.snapshot.models, self.snapshot.instances) if self.snapshot is not None else None

    def _chosen(self) -> str | None:
        return self._model or self._conversation.model or self._default_model()

    def _absence(self) -> Absence | None:
        """Return why the model of this conversation cannot answer at once; None if it can, or if none has answered."""
        model, snapshot = self._conversation.model, self.snapshot
        if model is None or snapshot is None or self._conversation.busy or self.view.arrived <= self._ended_at:
            return None  # an older snapshot may not list the loaded model yet
        return absence(model, snapshot.models, snapshot.instances)

    def _tick(self) -> None:
        if self.is_current and self._conversation.busy:
            self._show_meta()

    def _show_meta(self) -> None:
        more, context = self.query_one(Transcript).has_more, self._other_context()
        self.query_one(MetaLine).show(self._conversation.answer, self._clock(), more=more, context=context)

    def _other_context(self) -> int | None:
        """Return the context length of the next model if it differs from the one that answered last, else None."""
        answer, model = self._conversation.answer, self._chosen()
        if self.snapshot is None or answer is None or not answer.ended or model is None or model == answer.model:
            return None
        return context_length_of(model, self.snapshot)

    def _welcome(self) -> Text:
        """Return the text of an empty chat: the model that answers, and how to choose another."""
        model = self._chosen()
        text = Text("Ask anything. Nothing leaves this machine.\n\n")
        if model == GUIDE:
            text.append(f"{GUIDE} answers: the tiny built-in model, which knows lmx and nothing else.\n")
        elif model is not None:
            text.append(f"{one_line(model)} answers.\n")
        return text.append("^o chooses another model, f1 shows all keys.")

    # ---- asking ----

    @on(PromptInput.Sent)
    async def _sent(self, event: PromptInput.Sent) -> None:
        await self._with_model(partial(self._ask, event.text))

    async def _ask(self, text: str, model: str) -> None:
        prompt = self.query_one(PromptInput)
        prompt.remember(text)
        prompt.clear()
        transcript = self.query_one(Transcript)
        await transcript.add_prompt(text)
        await self._begin(self._conversation.ask(text, model, self._clock()))

    async def _with_model(self, go_on: Callable[[str], Awaitable[None]]) -> None:
        """Call `go_on` with the model that answers next. If it is absent, ask first what to do."""
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

    async def action_regenerate(self) -> None:
        if not self._conversation.turns:
            self.post_message(Notified("there is no answer yet"))
            return
        await self._with_model(self._ask_again)

    async def _ask_again(self, model: str) -> None:
        await self.query_one(Transcript).drop_last_answer()
        await self._begin(self._conversation.ask_again(model, self._clock()))

    async def _begin(self, request: Generate) -> None:
        assert self._conversation.answer is not None
        self._answer_view = await self.query_one(Transcript).add_answer(self._conversation.answer)
        self._show_meta()
        self.refresh_bindings()
        if self.snapshot is not None:
            self.show(self.snapshot)
        self.post_message(AnswerRequested(request))

    def _model_to_ask(self) -> str | None:
        """Return the model to ask now. If asking is impossible, post the reason and return None."""
        model = self._chosen()
        if self._conversation.busy:
            self.post_message(Notified("an answer is in progress", "esc stops it", "warning"))
        elif not self.view.online:
            self.post_message(Notified("offline: not sent", "the text stays in the prompt", "warning"))
        elif model is None:
            self.post_message(Notified("there is no model", "press p on the Models screen to pull one", "warning"))
        else:
            return model
        return None

    async def consume(self, request_id: str, events: tuple[Event, ...]) -> None:
        """Update the answer of a request with its events from the feed."""
        answer = self._conversation.answer
        if answer is None or answer.request_id != request_id or self._answer_view is None:
            return
        now = self._clock()
        for event in events:
            self._conversation.consume(event, now)
        await self._answer_view.refresh_answer()
        self._show_meta()
        if answer.ended:
            self._ended_at = now
            self.refresh_bindings()

    # ---- verbs ----

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        busy = {"stop": self._conversation.busy, "leave": not self._conversation.busy}
        return busy.get(action, super().check_action(action, parameters))

    def action_stop(self) -> None:
        answer = self._conversation.answer
        if answer is not None and not answer.ended:
            self.post_message(CancelRequested(answer.request_id))

    def action_leave(self) -> None:
        if self.query_one(PromptInput).has_focus:
            self.query_one(Transcript).focus()
        else:
            self.action_focus_prompt()

    def action_focus_prompt(self) -> None:
        self.query_one(PromptInput).focus()

    async def action_new(self) -> None:
        answer = self._conversation.answer
        if answer is not None and not answer.ended:
            self.post_message(CancelRequested(answer.request_id))
        self._conversation, self._answer_view = _new_conversation(self._conversation.thinking), None
        await self.query_one(Transcript).show_empty(self._welcome())
        self._show_meta()
        self.action_focus_prompt()

    def action_copy_code(self) -> None:
        answers = (turn.answer for turn in reversed(self._conversation.turns) if turn.answer is not None)
        code = next(filter(None, (last_code_block(answer.content) for answer in answers)), None)
        self._copy(code, "code block", "there is no code block")

    def action_copy_answer(self) -> None:
        answer = self._conversation.answer
        self._copy(answer.content if answer else None, "answer", "there is no answer yet")

    def _copy(self, text: str | None, what: str, otherwise: str) -> None:
        self.post_message(CopyRequested(text, what) if text else Notified(otherwise))

    def action_fold_thinking(self) -> None:
        views = list(self.query(ThinkingView))
        folded = all(view.folded for view in views)
        for view in views:
            view.fold(not folded)

    def action_pick_model(self) -> None:
        if self.snapshot is None:
            return
        instances = instances_of(self.snapshot)
        options = [(AUTO, "auto: the model used last; a chat keeps its model")]
        models = [model for model in self.snapshot.models if model.problem is None]
        room = min(48, max((len(model.id) for model in models), default=0))
        for model in models:
            state = instances[model.id].state if model.id in instances else size(model.size or None)
            options.append((model.id, f"{shorten(one_line(model.id), room):<{room}}  {state:>8}"))
        self.app.push_screen(Pick("Chat with", options, self._model), self.choose)

    def choose(self, model: str | None) -> None:
        """Choose the model that answers from now on. With AUTO, the next answer's model is kept."""
        if model is not None:
            self._model, self._conversation.model = model, None
            if self.snapshot is not None:
                self.show(self.snapshot)

    def set_thinking(self, thinking: bool | None) -> None:
        self._conversation.thinking = thinking
        if self.snapshot is not None:
            self.show(self.snapshot)

    @on(PromptInput.Scrolled)
    def _scroll(self, event: PromptInput.Scrolled) -> None:
        self.query_one(Transcript).scroll_pages(event.pages)


def _new_conversation(thinking: bool | None = None) -> Conversation:
    return Conversation(tenant="tui", client="lmx tui", thinking=thinking)

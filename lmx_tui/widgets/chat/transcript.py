"""Transcript: the turns of a chat, one view for each part. It follows the end until the reader scrolls up."""

from collections.abc import Sequence
from typing import NamedTuple

from rich.style import Style
from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.geometry import Offset
from textual.widgets import Static

from lmx_daemon.contract.admin.chats import StoredMessage
from lmx_daemon.contract.chat_answer import ChatAnswer, PartialCall
from lmx_daemon.contract.units import timing
from lmx_tui import keys
from lmx_tui.formatting import cached, clean, count, miss_reason, one_line, rate, short_name
from lmx_tui.widgets.chat.message_view import MessageView, plain_strips
from lmx_tui.widgets.chat.prompt_view import PromptView
from lmx_tui.widgets.frame.static_text import StaticText

THINKING_LINES = 6
"""Number of lines shown while the model thinks."""
MEASURED_SECONDS = 0.2
"""Duration below which none is shown: tokens arrive in batches, so a shorter measurement means nothing."""


class ThinkingView(Static):
    """A model's thinking: its last lines while it continues, one line when folded. A click folds and unfolds it."""

    DEFAULT_CSS = """
    ThinkingView { height: auto; color: $muted; margin-bottom: 1; }
    """

    def __init__(self) -> None:
        super().__init__(Text(), markup=False)
        self._text = ""
        self._seconds: float | None = None
        self._over = False
        self._drawn_width = 0
        self.folded = False

    def show(self, answer: ChatAnswer) -> None:
        if (answer.reasoning, answer.state == "thinking") == (self._text, not self._over):
            return
        self._text, self._seconds = answer.reasoning, answer.thinking_seconds
        over = answer.state != "thinking"
        if over and not self._over:
            self.folded = True
        self._over = over
        self._draw()

    def fold(self, folded: bool) -> None:
        self.folded = folded
        self._draw()

    def on_click(self, event: events.Click) -> None:
        self.fold(not self.folded)

    def on_resize(self) -> None:
        if self.content_size.width != self._drawn_width:
            self._draw()

    def _draw(self) -> None:
        self._drawn_width = self.content_size.width
        time = f" for {timing(self._seconds)}" if self._seconds and self._seconds >= MEASURED_SECONDS else ""
        words = f"thought{time}" if self._over else "thinking"
        text = Text(f"{'▸' if self.folded else '▾'} {words}", "bold")
        if not self.folded:
            text.append("".join(f"\n  {line}" for line in self._lines()), "not bold italic")
        self.update(text)

    def _lines(self) -> list[str]:
        """Return all lines, or the last ones while the model thinks. Lines are counted after wrapping."""
        lines = clean(self._text).strip().splitlines()
        shown = "\n".join(lines if self._over else lines[-THINKING_LINES:])
        wrapped = [strip.text.rstrip() for strip in plain_strips(shown, max(20, self._drawn_width - 2))]
        return wrapped if self._over else wrapped[-THINKING_LINES:]


class CallView(StaticText):
    """A tool call, updated while it is received."""

    DEFAULT_CSS = """
    CallView { height: auto; color: $secondary; margin-bottom: 1; }
    """

    def show_call(self, call: PartialCall) -> None:
        text = Text("⚙ ").append(one_line(call.name) or "…", "bold")
        self.show(text.append(f"({clean(call.arguments)})", Style.parse(self.app.theme_variables["muted"])))


class AnswerView(Vertical):
    """Answer: thinking, text, tool calls, and a line of figures after its end."""

    DEFAULT_CSS = """
    AnswerView { height: auto; border-left: outer $accent; padding: 0 1 0 1; margin-bottom: 1; }
    AnswerView.-failed { border-left: outer $error; }
    AnswerView > .end { height: auto; color: $muted; }
    AnswerView.-failed > .end { color: $error; }
    """

    def __init__(self, answer: ChatAnswer) -> None:
        super().__init__()
        self.answer = answer
        self.place = (1, 1)
        """Place among the branches, and their number."""
        self.thinking = ThinkingView()
        self.text = MessageView()
        self._end = StaticText(Text("…"), classes="end")
        self._calls: dict[int, CallView] = {}
        self._finished = False

    def compose(self) -> ComposeResult:
        self.thinking.display = False
        self.text.display = False
        yield self.thinking
        yield self.text
        yield self._end

    def continues(self, answer: ChatAnswer) -> bool:
        """Return whether `answer` begins with what is drawn, so that the rest can be added."""
        return clean(answer.content).startswith(self.text.source) and len(answer.calls) >= len(self._calls)

    async def refresh_answer(self) -> None:
        """Draw the parts of the answer that are new."""
        answer = self.answer
        if answer.reasoning:
            self.thinking.display = True
            self.thinking.show(answer)
        shown = self.text.received
        if len(answer.content) > shown:
            self.text.display = True
            self.text.append(answer.content[shown:])
        for index, call in answer.calls.items():
            if index not in self._calls:
                self._calls[index] = CallView()
                await self.mount(self._calls[index], before=self._end)
            self._calls[index].show_call(call)
        if answer.ended and not self._finished:
            await self.text.finish()
        self._finished = answer.ended
        self.set_class(answer.state == "failed", "-failed")
        self._end.display = answer.ended or not (answer.content or answer.reasoning or answer.calls)
        mark = Text(f"[{self.place[0]}/{self.place[1]}] ") if self.place[1] > 1 and answer.ended else Text()
        self._end.show(mark + end_line(answer))


def end_line(answer: ChatAnswer) -> Text:
    """Return the line below an answer: figures, or the reason why it ended early."""
    if not answer.ended:
        return Text("…")
    if answer.state == "failed":
        assert answer.error is not None
        text = Text("! ").append(clean(answer.error.message))
        return text.append(f"\n  {clean(answer.error.hint)}") if answer.error.hint else text
    parts = [short_name(answer.model)]
    if answer.state == "stopped":
        parts.insert(0, "stopped")
    if answer.truncated:
        parts.insert(0, "cut at the maximum length")
    if answer.tokens:
        parts += [f"{count(answer.tokens)} tok", f"{rate(answer.rate)} tok/s", f"TTFT {timing(answer.first_token)}"]
    else:
        parts.append("empty answer")
    if (answer.cached_tokens or answer.miss) and (words := cached(answer.cached_tokens, answer.prompt_tokens)):
        parts.append(words)
    text = Text(" · ".join(parts))
    return text.append(f"\nnot cached: {miss_reason(answer.miss, answer.first_difference)}") if answer.miss else text


class DrawnMessage(NamedTuple):
    """A message of the branch that is drawn."""

    message: StoredMessage
    place: tuple[int, int]
    """Place among its branches, from 1, and their number."""
    answer: ChatAnswer | None = None
    """The answer, if a model has generated the message."""
    grows: bool = False


def _view_of(turn: DrawnMessage) -> "PromptView | AnswerView":
    return PromptView(turn.message) if turn.answer is None else AnswerView(turn.answer)


def _fits(view: "PromptView | AnswerView", turn: DrawnMessage) -> bool:
    """Return whether a view can show a message without being made again."""
    if isinstance(view, PromptView):
        return view.message.text == turn.message.text
    return turn.answer is not None and (view.answer is turn.answer or view.continues(turn.answer))


class Transcript(VerticalScroll):
    """The scrollable list of prompts and answers."""

    BINDINGS = keys.TRANSCRIPT
    DEFAULT_CSS = """
    Transcript {
        height: 1fr; scrollbar-size-vertical: 1; scrollbar-gutter: stable; padding: 0 1; layout: stream;
    }
    Transcript > .-current { background: $cursor-background 60%; }
    Transcript > .empty { color: $muted; padding: 1 1; height: auto; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._views: dict[str, PromptView | AnswerView] = {}
        self._drawn: list[str] = []
        """Ids of the messages in their order."""
        self._cursor: str | None = None

    @property
    def scroll_offset(self) -> Offset:
        """Offset, at least 0: Textual anchors a short chat at the bottom, where each new line would move all others."""
        x, y = super().scroll_offset
        return Offset(x, max(0, y))

    async def show_empty(self, words: Text) -> None:
        """Remove all turns and show `words`."""
        self._views, self._drawn, self._cursor = {}, [], None
        await self.remove_children()
        await self.mount(Static(words, classes="empty", markup=False))

    def update_empty(self, words: Text) -> None:
        """Change the text of an empty chat."""
        for hint in self.query(".empty").results(Static):
            if hint.content != words:
                hint.update(words)

    async def show_branch(self, turns: Sequence[DrawnMessage]) -> None:
        """Draw the messages of a branch. Views of messages that are drawn already stay."""
        kept = 0
        for turn, name in zip(turns, self._drawn, strict=False):
            if turn.message.id != name or not _fits(self._views[name], turn):
                break
            kept += 1
        removed, self._drawn = self._drawn[kept:], self._drawn[:kept]
        if removed:
            await self.remove_children([self._views.pop(name) for name in removed])
        added = [_view_of(turn) for turn in turns[kept:]]
        if added:
            await self.query(".empty").remove()
            await self.mount_all(added)
            self._views |= {turn.message.id: view for turn, view in zip(turns[kept:], added, strict=True)}
            self._drawn += [turn.message.id for turn in turns[kept:]]
            self._mark()
        for number, turn in enumerate(turns):
            view = self._views[turn.message.id]
            if isinstance(view, PromptView):
                view.show(turn.message, turn.place)
                continue
            assert turn.answer is not None
            changed = view.answer is not turn.answer or view.place != turn.place
            if number >= kept or turn.grows or changed:
                view.answer, view.place = turn.answer, turn.place
                await view.refresh_answer()

    # ---- the cursor ----

    @property
    def current(self) -> str | None:
        """Id of the message under the cursor."""
        return self._cursor if self._cursor in self._views else None

    def move_cursor(self, step: int) -> None:
        """Move the cursor by messages; without one, begin at the last message."""
        if not self._drawn:
            return
        last = len(self._drawn) - 1
        place = self._drawn.index(self.current) + step if self.current is not None else last
        self._cursor = self._drawn[max(0, min(last, place))]
        self._mark()
        view = self._views[self._cursor]
        view.scroll_visible(animate=False, top=view.size.height > self.size.height)

    def clear_cursor(self) -> None:
        self._cursor = None
        self._mark()

    def _mark(self) -> None:
        for name, view in self._views.items():
            view.set_class(name == self._cursor, "-current")

    def on_focus(self) -> None:
        """Put the cursor on the last message, and leave the view where it is."""
        if self._drawn and self.current is None:
            self._cursor = self._drawn[-1]
            self._mark()

    def on_blur(self) -> None:
        self.clear_cursor()

    def action_message(self, step: int) -> None:
        self.move_cursor(step)

    @property
    def has_more(self) -> bool:
        """Whether the transcript continues below the visible part."""
        return self.scroll_offset.y < self.max_scroll_y

    def scroll_pages(self, pages: int) -> None:
        self.scroll_relative(y=pages * max(1, self.size.height - 2), animate=False)

    def release_anchor(self) -> None:
        """Stop following the end, but only if there is something to scroll."""
        if self.max_scroll_y:
            super().release_anchor()

    def action_bottom(self) -> None:
        self.anchor()

"""Transcript: the turns of a chat, one view for each part. It follows the end until the reader scrolls up."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from rich.text import Text
from textual.containers import VerticalScroll
from textual.geometry import Offset
from textual.layout import Layout
from textual.layouts.stream import StreamLayout
from textual.widgets import Static

from lmx_daemon.contract.admin.chats import StoredMessage
from lmx_daemon.contract.generation.chat_answer import ChatAnswer
from lmx_tui import keys
from lmx_tui.widgets.chat.answer_view import AnswerView
from lmx_tui.widgets.chat.pair_view import PairView
from lmx_tui.widgets.chat.prompt_view import PromptView


class DrawnMessage(NamedTuple):
    """A message of the branch that is drawn."""

    message: StoredMessage
    place: tuple[int, int]
    """Place among its branches, from 1, and their number."""
    answer: ChatAnswer | None = None
    """The answer, if a model has generated the message."""
    grows: bool = False
    """Whether the message has changed since the transcript was last drawn."""
    beside: ChatAnswer | None = None
    """The answer of another model to the same prompt, which is drawn in a second column."""
    selected: int = 0
    """Column of the branch that the next prompt continues."""

    @property
    def pair(self) -> tuple[ChatAnswer, ChatAnswer] | None:
        """Both answers, if there are two columns."""
        return (self.answer, self.beside) if self.answer is not None and self.beside is not None else None


MessageWidget = PromptView | AnswerView | PairView


def _view_of(turn: DrawnMessage) -> MessageWidget:
    if turn.pair is not None:
        return PairView(turn.pair)
    return PromptView(turn.message) if turn.answer is None else AnswerView(turn.answer)


def _fits(view: MessageWidget, turn: DrawnMessage) -> bool:
    """Return whether the existing view can show the message, so that no new view is needed."""
    if isinstance(view, PairView):
        return turn.pair is not None and view.continues(turn.pair)
    if turn.pair is not None:
        return False
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
        self._views: dict[str, MessageWidget] = {}
        self._drawn: list[str] = []
        """Ids of the messages in their order."""
        self._cursor: str | None = None
        self._drawing = asyncio.Lock()
        """Lock for the children: updates and keys draw from different tasks, and each waits for its widgets."""

    @property
    def scroll_offset(self) -> Offset:
        """Offset, at least 0: Textual anchors a short chat at the bottom, where each new line would move all others."""
        x, y = super().scroll_offset
        return Offset(x, max(0, y))

    def pre_layout(self, layout: Layout) -> None:
        """Measure all messages again.

        Textual's screen does not report an answer of which only the text has grown. If another widget changed at the
        same moment, the layout would keep the old height of the answer, and a scroll would not reach its end.
        """
        super().pre_layout(layout)
        if isinstance(layout, StreamLayout):
            layout._cached_placements = None

    async def show_empty(self, words: Text) -> None:
        """Remove all turns and show `words`."""
        async with self._drawing:
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
        async with self._drawing:
            await self._show_branch(turns)

    async def _show_branch(self, turns: Sequence[DrawnMessage]) -> None:
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
        if removed and self.has_focus:
            self._keep_cursor()
        for number, turn in enumerate(turns):
            view = self._views[turn.message.id]
            if isinstance(view, PromptView):
                view.show(turn.message, turn.place)
                continue
            assert turn.answer is not None
            if isinstance(view, PairView):
                assert turn.pair is not None
                await view.show(turn.pair, turn.selected)
                continue
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
        """Move the cursor by `step` messages. Without a cursor, put it on the last message."""
        if not self._drawn:
            return
        last = len(self._drawn) - 1
        place = self._drawn.index(self.current) + step if self.current is not None else last
        self._cursor = self._drawn[max(0, min(last, place))]
        self._mark()
        view = self._views[self._cursor]
        view.scroll_visible(animate=False, immediate=True, top=view.size.height > self.size.height)
        self._follow_from_end()

    def clear_cursor(self) -> None:
        self._cursor = None
        self._mark()

    def _mark(self) -> None:
        for name, view in self._views.items():
            view.set_class(name == self._cursor, "-current")

    def on_focus(self) -> None:
        """Put the cursor on the last message, and leave the view where it is."""
        self._keep_cursor()

    def _keep_cursor(self) -> None:
        if self._drawn and self.current is None:
            self._cursor = self._drawn[-1]
            self._mark()

    def on_blur(self) -> None:
        self.clear_cursor()

    def action_message(self, step: int) -> None:
        self.move_cursor(step)

    @property
    def has_more(self) -> bool:
        """Return whether the transcript continues below the visible part."""
        return self.scroll_offset.y < self.max_scroll_y

    def scroll_pages(self, pages: int) -> None:
        """Scroll at once: a deferred scroll would start from a place that a layout or another key has changed."""
        self.scroll_relative(y=pages * max(1, self.size.height - 2), animate=False, immediate=True)
        self._follow_from_end()

    def _follow_from_end(self) -> None:
        """Follow the end again if it is visible. Each key that scrolls releases the anchor, even if nothing moves."""
        if not self.has_more:
            self.anchor()

    def release_anchor(self) -> None:
        """Stop following the end, but only if there is something to scroll."""
        if self.max_scroll_y:
            super().release_anchor()

    def action_bottom(self) -> None:
        self.anchor()

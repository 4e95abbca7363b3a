"""ChatList: the chats of the daemon with a search field. The row under the cursor is what verbs are for."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from lmx_daemon.contract.admin.chats import ChatRow
from lmx_daemon.contract.units import duration
from lmx_tui import keys
from lmx_tui.formatting import one_line, shorten
from lmx_tui.widgets.frame.pane import Pane

SEARCH_SECONDS = 0.08
"""Pause in the typing after which a search is sent."""


class ChatSearch(Input):
    """The field for the words of a search."""

    BINDINGS = keys.CHAT_SEARCH


class ChatOptions(OptionList):
    """The chats, each in one line, or two with the words that a search has found."""

    BINDINGS = keys.CHAT_LIST


class ChatList(Pane):
    """The list of chats."""

    DEFAULT_CSS = """
    ChatList { width: 38; padding: 0; }
    ChatList ChatSearch { border: none; height: 1; padding: 0 1; background: $surface; }
    ChatList ChatOptions { border: none; height: 1fr; padding: 0; background: transparent; scrollbar-size-vertical: 1; }
    ChatList ChatOptions:focus { border: none; background: transparent; }
    ChatList ChatOptions > .option-list--option-highlighted { background: $cursor-background 55%; text-style: none; }
    ChatList:focus-within ChatOptions > .option-list--option-highlighted {
        background: $cursor-background; color: $accent; text-style: bold;
    }
    """

    @dataclass
    class Chosen(Message):
        """A request to open a chat."""

        chat: str
        found: str = ""
        """Message that the search has found; "" without a search."""

    @dataclass
    class Searched(Message):
        """Words that are searched for; "" lists all chats."""

        words: str

    def __init__(self) -> None:
        super().__init__("Chats", id="chat-list")
        self._rows: list[ChatRow] = []
        self._now = 0.0
        self._drawn: list[Text] = []
        self._waiting = False

    def compose(self) -> ComposeResult:
        yield ChatSearch(placeholder="search all chats", compact=True)
        yield ChatOptions(compact=True)

    def on_mount(self) -> None:
        self.search.cursor_blink = False

    @property
    def words(self) -> str:
        return self.search.value.strip()

    @property
    def current(self) -> ChatRow | None:
        """The row under the cursor."""
        place = self.query_one(ChatOptions).highlighted
        return self._rows[place] if place is not None and place < len(self._rows) else None

    def clear(self) -> None:
        """Empty the search field, so that all chats are listed."""
        self.search.value = ""

    def show(self, rows: Sequence[ChatRow], now: float, opened: str) -> None:
        """Draw the rows if they look different. The cursor stays on its chat, else goes to the open one."""
        options, current = self.query_one(ChatOptions), self.current
        width = max(16, (options.size.width or 36) - 3)
        drawn = [self._line(row, now, width, row.id == opened) for row in rows]
        kept = current.id if current is not None and self.has_focus_within and not self.words else opened
        self._rows = list(rows)
        if drawn != self._drawn:
            self._drawn = drawn
            options.clear_options()
            options.add_options([Option(Content.from_rich_text(text)) for text in drawn])
        names = [row.id for row in rows]
        place = names.index(kept) if kept in names else 0
        if rows and options.highlighted != place:
            options.highlighted = place
        found = f"{len(rows)} found" if self.words else f"{len(rows)}" if rows else ""
        self.titled(f"Chats {found}".rstrip(), "enter open · esc back" if self.has_focus_within else "")

    def _line(self, row: ChatRow, now: float, width: int, is_open: bool) -> Text:
        colors = self.app.theme_variables
        mark = "▶" if row.running else "★" if row.pinned else "●" if is_open else " "
        age = duration(max(0.0, now - row.changed_at))
        room = max(8, width - len(age) - 3)
        text = Text(f"{mark} ", colors["accent"])
        text.append(f"{shorten(one_line(row.name), room):<{room}} ", colors["foreground"])
        text.append(age, colors["muted"])
        extra = (
            one_line(row.snippet) if row.snippet and row.found else " ".join(f"#{one_line(tag)}" for tag in row.tags)
        )
        if extra:
            text.append(f"\n  {shorten(extra, width - 1)}", colors["muted"])
        return text

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        if not self._waiting:
            self._waiting = True
            self.set_timer(SEARCH_SECONDS, self._search)

    def _search(self) -> None:
        self._waiting = False
        self.post_message(self.Searched(self.words))

    @on(Input.Submitted)
    @on(OptionList.OptionSelected)
    def _open(self, event: Message) -> None:
        event.stop()
        if (row := self.current) is not None:
            self.post_message(self.Chosen(row.id, row.found))

    def action_row(self, step: int) -> None:
        """Move the cursor of the list while the search field has the focus."""
        options = self.query_one(ChatOptions)
        (options.action_cursor_down if step > 0 else options.action_cursor_up)()

    @property
    def search(self) -> ChatSearch:
        return self.query_one(ChatSearch)

    def action_search(self) -> None:
        self.search.focus()

    def action_rows(self) -> None:
        self.query_one(ChatOptions).focus()

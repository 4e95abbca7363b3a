"""LogView: the lines of the daemon's log, drawn line by line, with a cursor that follows the newest line."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.theme import Theme

from lmx_daemon.contract.admin.snapshot import LogLine
from lmx_tui import keys
from lmx_tui.widgets.logs.log_lines import LogCriteria, line_text, next_match, shown_lines

MAX_LINES = 10_000
"""Number of lines kept. The oldest leave in steps of DROPPED, so that the list is filtered again rarely."""
DROPPED = 1000


class LogView(ScrollView, can_focus=True, inherit_bindings=False):
    """A list of log lines."""

    BINDINGS = keys.LINES
    ALLOW_SELECT = False
    DEFAULT_CSS = """
    LogView { height: 1fr; background: transparent; scrollbar-size-vertical: 1; overflow-x: hidden; }
    """

    @dataclass
    class Changed(Message):
        """The number of lines, the filter or the cursor has changed."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.filter = LogCriteria()
        self.following = True
        """Whether the cursor stays on the newest line."""
        self.cursor = 0
        self._all: list[LogLine] = []
        self._shown: list[LogLine] = []

    @property
    def selected(self) -> LogLine | None:
        return self._shown[self.cursor] if 0 <= self.cursor < len(self._shown) else None

    @property
    def counts(self) -> tuple[int, int]:
        """Number of lines that are shown, and of all lines."""
        return len(self._shown), len(self._all)

    def clear(self) -> None:
        self._all = []
        self._filter_again()

    def add(self, lines: Sequence[LogLine]) -> None:
        """Add lines at the end. A reader who does not follow keeps their place."""
        self._all += lines
        if len(self._all) > MAX_LINES:
            dropped = len(self._all) - MAX_LINES + DROPPED
            self._all = self._all[dropped:]
            self._filter_again()
            return
        fresh = shown_lines(lines, self.filter)
        if fresh:
            self._shown += fresh
            self._resized()

    def show_only(self, wanted: LogCriteria) -> None:
        """Change the filter. The cursor stays on its line if that is still shown."""
        if wanted != self.filter:
            self.filter = wanted
            self._filter_again()

    def _filter_again(self) -> None:
        kept = self.selected
        self._shown = shown_lines(self._all, self.filter)
        places = (index for index, line in enumerate(self._shown) if line is kept)
        self.cursor = next(places, max(0, len(self._shown) - 1))
        self._resized()

    def _resized(self) -> None:
        self.virtual_size = Size(self.size.width, len(self._shown))
        if self.following:
            self.cursor = max(0, len(self._shown) - 1)
        self._show_cursor()

    def move(self, index: int) -> None:
        """Put the cursor on a line. On the last one, the view follows again."""
        self.cursor = max(0, min(index, len(self._shown) - 1))
        self.following = self.cursor >= len(self._shown) - 1
        self._show_cursor()

    def _show_cursor(self) -> None:
        height = max(1, self.size.height)
        top = round(self.scroll_offset.y)
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False, force=True)
        elif self.cursor >= top + height:
            self.scroll_to(y=self.cursor - height + 1, animate=False, force=True)
        self.refresh()
        self.post_message(self.Changed())

    def on_mount(self) -> None:
        self.app.theme_changed_signal.subscribe(self, self._theme_changed)

    def _theme_changed(self, theme: Theme) -> None:
        self.refresh()

    def on_resize(self) -> None:
        self._resized()

    def render_line(self, y: int) -> Strip:
        index = self.scroll_offset.y + y
        width, style = self.size.width, self.rich_style
        if not 0 <= index < len(self._shown):
            return Strip.blank(width, style)
        colors = self.app.theme_variables
        text = line_text(self._shown[index], colors, self.filter.regex)
        text.truncate(width, overflow="ellipsis")
        if index == self.cursor:
            style += Style.parse(f"bold on {colors['cursor-background']}" if self.has_focus else "bold")
            if self.app.no_color or colors["cursor-background"] == colors["background"]:
                style += Style(reverse=self.has_focus)
        segments = [
            Segment(segment.text, style + segment.style if segment.style else style)
            for segment in text.render(self.app.console)
        ]
        return Strip(segments).adjust_cell_length(width, style)

    # ---- keys ----

    def action_move(self, rows: int) -> None:
        self.move(self.cursor + rows)

    def action_page(self, pages: int) -> None:
        self.move(self.cursor + pages * max(1, self.size.height - 1))

    def action_end(self, which: str) -> None:
        self.move(0 if which == "first" else len(self._shown) - 1)

    def action_scroll_home(self) -> None:
        self.action_end("first")

    def match(self, step: int) -> bool:
        """Move the cursor to the next match, and return whether there is one."""
        regex = self.filter.regex
        found = next_match(self._shown, self.cursor, step, regex) if regex and self._shown else None
        if found is not None:
            self.move(found)
        return found is not None

    def narrow(self, *, only_matches: bool) -> None:
        self.show_only(replace(self.filter, only_matches=only_matches))

    def on_click(self, event: events.Click) -> None:
        self.move(self.scroll_offset.y + event.y)

    def on_mouse_scroll_up(self) -> None:
        self.following = False

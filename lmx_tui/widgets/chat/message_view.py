"""MessageView: one message of a chat as cached strips. While it grows, only its last, open part is drawn again.

The text contains no control characters, and can be selected and copied.
"""

import asyncio

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Size
from textual.selection import Selection
from textual.strip import Strip
from textual.theme import Theme
from textual.widget import Widget

from lmx_tui.formatting import clean
from lmx_tui.widgets.chat.blocks import KEPT_LINES, LONG_FENCE, OpenFence, closed_cut, open_fence, without_partial_fence
from lmx_tui.widgets.chat.markdown import Painter

IN_THREAD = 8000
"""Length in characters above which the final drawing happens in a thread."""
MAX_WIDTH = 110
"""Width limit in cells; wider lines are hard to read."""


class MessageView(Widget):
    """A message, as markdown or as plain text."""

    ALLOW_SELECT = True
    DEFAULT_CSS = """
    MessageView { height: auto; width: 1fr; }
    """

    def __init__(self, source: str = "", *, markdown: bool = True, classes: str | None = None) -> None:
        super().__init__(classes=classes)
        self.source = clean(source)
        self.received = len(source)
        """Number of characters received, before cleaning."""
        self._markdown = markdown
        self._painter: Painter | None = None
        self._width = 0
        self._done: list[Strip] = []
        """Strips of the part that is final."""
        self._tail = self.source
        self._tail_strips: list[Strip] = []
        self._tail_fence: OpenFence | None = None
        """Code block that the tail continues, if the first lines of that block are final already."""

    # ---- public interface ----

    def append(self, text: str) -> None:
        """Add text to the message. Called about a dozen times per second at most."""
        self.received += len(text)
        text = clean(text)
        self.source += text
        self._tail += text
        if not self._width:
            return
        before = self._line_count
        self._draw_tail()
        self.refresh(layout=self._line_count != before)

    async def finish(self) -> None:
        """Draw the whole message again, which corrects lists and link targets that were cut while it grew."""
        width, source = self._width, self.source
        if not width or not source.strip():
            return
        if len(source) > IN_THREAD:
            strips = await asyncio.to_thread(self._drawn, source, width)
        else:
            strips = self._drawn(source, width)
        if (width, source) == (self._width, self.source):
            before = self._line_count
            self._done, self._tail, self._tail_strips, self._tail_fence = strips, "", [], None
            self.refresh(layout=self._line_count != before)

    # ---- drawing ----

    @property
    def _line_count(self) -> int:
        return len(self._done) + len(self._tail_strips)

    def on_mount(self) -> None:
        self.app.theme_changed_signal.subscribe(self, self._theme_changed)

    def _theme_changed(self, theme: Theme) -> None:
        self._painter = None
        if self._width:
            self._start_over(self._width)
            self.refresh(layout=True)

    def _start_over(self, width: int) -> None:
        self._width = width
        self._open_whole()
        self._draw_tail()

    def _open_whole(self) -> None:
        self._done, self._tail, self._tail_fence = [], self.source, None

    def _draw_tail(self) -> None:
        """Move blocks that became final into the final strips, and draw the rest."""
        width = self._width
        if not self._markdown:
            self._tail_strips = self._drawn(self._tail, width)
            return
        if self._tail_fence is not None and open_fence(f"{self._tail_fence.mark}\n{self._tail}") is None:
            self._open_whole()  # the code block has ended: drawn again as a whole, its parts become one block
        if self._tail_fence is None:
            cut = closed_cut(self._tail)
            if cut:
                self._done += [*self._drawn(self._tail[:cut], width), Strip.blank(width)]
                self._tail = self._tail[cut:]
        self._freeze_long_fence()
        if self._tail_fence is not None:
            self._tail_strips = self._paint.code(self._tail, self._tail_fence.info, width)
        else:
            shown = without_partial_fence(self._tail)
            self._tail_strips = self._drawn(shown, width) if shown.strip() else []

    def _freeze_long_fence(self) -> None:
        """Move all but the last lines of a long open code block into the final strips."""
        fence = self._tail_fence or open_fence(self._tail)
        if fence is None:
            return
        lines = self._tail[fence.start :].split("\n")
        if len(lines) <= LONG_FENCE:
            return
        head = "\n".join(lines[:-KEPT_LINES])
        if self._tail_fence is None:
            self._done += self._drawn(self._tail[: fence.start] + head, self._width)[:-1]
        else:
            self._done += self._paint.code(head, fence.info, self._width)
        self._tail, self._tail_fence = "\n".join(lines[-KEPT_LINES:]), fence._replace(start=0)

    @property
    def _paint(self) -> Painter:
        if self._painter is None:
            self._painter = Painter(self.app.theme_variables)
        return self._painter

    def _drawn(self, source: str, width: int) -> list[Strip]:
        inner = min(width, MAX_WIDTH)
        strips = self._paint.strips(source, inner) if self._markdown else plain_strips(source, inner)
        return strips if inner == width else [strip.adjust_cell_length(width) for strip in strips]

    # ---- overridden methods of Widget ----

    def get_content_width(self, container: Size, viewport: Size) -> int:
        return container.width

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        if width != self._width:
            self._start_over(width)
        return max(1, self._line_count)

    def render_line(self, y: int) -> Strip:
        strip = self._line(y)
        style = self.rich_style
        strip = strip.apply_style(style)
        if (selection := self.text_selection) is not None and (span := selection.get_span(y)) is not None:
            start, end = span
            end = strip.cell_length if end == -1 else end
            marked = self.screen.get_component_rich_style("screen--selection")
            middle = Strip(_restyled(strip.crop(start, end), marked))
            strip = Strip.join([strip.crop(0, start), middle, strip.crop(end)])
        return strip.apply_offsets(0, y)

    def _line(self, y: int) -> Strip:
        closed = len(self._done)
        if y < closed:
            return self._done[y]
        if y - closed < len(self._tail_strips):
            return self._tail_strips[y - closed]
        return Strip.blank(self._width)

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        lines = (strip.text.rstrip() for strip in (*self._done, *self._tail_strips))
        return selection.extract("\n".join(lines)), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        self.refresh()


def _restyled(strip: Strip, marked: Style) -> list[Segment]:
    return [Segment(segment.text, segment.style + marked if segment.style else marked) for segment in strip]


def plain_strips(text: str, width: int) -> list[Strip]:
    """Return plain text as wrapped strips; line breaks stay."""
    from rich.console import Console
    from rich.text import Text

    console = Console(width=width, color_system=None, emoji=False)
    lines = Text(text.expandtabs(4).strip("\n")).wrap(console, width)
    return [Strip([Segment(line.plain)]).adjust_cell_length(width) for line in lines]

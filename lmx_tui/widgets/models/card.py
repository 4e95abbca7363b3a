"""CardView: the model card of one model as scrollable Markdown, which is asked for and drawn when it is shown.

A card is not trusted: its controls become visible symbols, its links are text, its images are their alt texts. A
thread draws it, because 20,000 characters take 0.3 s.
"""

import asyncio
from functools import partial

from rich.segment import Segment
from textual import events
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.timer import Timer

from lmx_daemon.contract.admin.library.hub import CardRequest, ModelCard
from lmx_daemon.contract.errors import ErrorBody
from lmx_tui import keys
from lmx_tui.formatting import clean, one_line
from lmx_tui.messages import QueryRequested
from lmx_tui.widgets.chat.markdown import Painter
from lmx_tui.widgets.chat.message_view import plain_strips

MAX_CHARACTERS = 20_000
"""Length of a card above which the rest is not drawn."""
REST_SECONDS = 0.3
"""Time that the cursor rests on another model before its card is asked for."""


class CardView(ScrollView, can_focus=True):
    """The card of one model, or one line about why there is none."""

    BINDINGS = keys.CARD
    DEFAULT_CSS = """
    CardView { height: 1fr; width: 1fr; background: transparent; scrollbar-size-vertical: 1; }
    """

    def __init__(self, request: CardRequest) -> None:
        super().__init__()
        self._request = request
        self._source = ""
        self._notes: list[str] = []
        """Lines of plain text: before the card is here the state of the request, then notes below the card."""
        self._strips: list[Strip] = []
        self._width = 0
        self._timer: Timer | None = None

    def on_mount(self) -> None:
        self.app.theme_changed_signal.subscribe(self, lambda theme: self._draw())
        self._ask()

    def follow(self, request: CardRequest) -> None:
        """Show another card, once the cursor rests."""
        if request == self._request:
            return
        self._request = request
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(REST_SECONDS, self._ask)

    def _ask(self) -> None:
        request = self._request

        def came(card: ModelCard) -> None:
            if request is self._request and self.is_attached:
                self._show(card)

        def failed(error: ErrorBody) -> None:
            if request is self._request and self.is_attached:
                words = ". ".join(filter(None, (error.message, error.hint)))
                self._set("", [one_line(words)])

        self._set("", ["asking the Hub ..." if request.hub else "reading the card ..."])
        self.post_message(QueryRequested("card", lambda client: client.card(request), came, failed))

    def _show(self, card: ModelCard) -> None:
        source = clean(card.text[:MAX_CHARACTERS])
        notes = [] if source.strip() else ["the card is empty"]
        if card.cut or len(card.text) > MAX_CHARACTERS:
            notes.append(f"... the card goes on: its first {len(source):,} characters are shown")
        if card.note:
            notes.append(f"an earlier answer of the Hub: {one_line(card.note)}")
        self._set(source, notes)

    def _set(self, source: str, notes: list[str]) -> None:
        self._source, self._notes = source, notes
        self.scroll_home(animate=False)
        self._draw()

    # ---- drawing ----

    def _draw(self) -> None:
        self._width = self._text_width
        if self._width > 0:
            work = partial(self._drawing, self._width)
            self.run_worker(work, group="card", exclusive=True, exit_on_error=False)  # type: ignore[arg-type]

    @property
    def _text_width(self) -> int:
        """Cells of a line beside the scroll bar, which can appear once the text is drawn."""
        return self.outer_size.width - self.styles.scrollbar_size_vertical

    async def _drawing(self, width: int) -> None:
        source, below = self._source, plain_strips("\n\n".join(self._notes), width) if self._notes else []
        strips = await asyncio.to_thread(_drawn, Painter(self.app.theme_variables), source, width) if source else []
        gap = [Strip.blank(width)] if strips and below else []
        self._strips = [*strips, *gap, *below]
        self.virtual_size = Size(width, len(self._strips))
        self.refresh()

    @property
    def lines(self) -> list[str]:
        """The text as it is drawn."""
        return [strip.text.rstrip() for strip in self._strips]

    def on_resize(self, event: events.Resize) -> None:
        if self._text_width != self._width:
            self._draw()

    def render_line(self, y: int) -> Strip:
        at = y + self.scroll_offset.y
        width = self.scrollable_content_region.width
        strip = self._strips[at] if at < len(self._strips) else Strip([Segment(" " * width)])
        return strip.adjust_cell_length(width).apply_style(self.rich_style)


def _drawn(painter: Painter, source: str, width: int) -> list[Strip]:
    """Return Markdown as strips, or as plain text if the Markdown library fails on it."""
    try:
        return painter.strips(source, width)
    except Exception:  # a foreign text in a foreign parser, at the TUI's worker edge
        return plain_strips(source, width)

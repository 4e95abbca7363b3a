"""TextDialog: a dialog with a scrollable text."""

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

PADDING = 8
"""Cells of a dialog beside its text: frame, padding and scroll bar."""


class TextDialog(ModalScreen[None]):
    """A scrollable text."""

    BINDINGS = [
        Binding("escape,q,enter", "dismiss", "Close", id="text.close"),
        Binding("j,down", "down", "Down", show=False, id="text.down"),
        Binding("k,up", "up", "Up", show=False, id="text.up"),
        Binding("y", "copy", "Copy", id="text.copy"),
    ]
    HINT = "y copy · esc close"

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title = title

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog wide", id="text-dialog") as box:
            box.border_title = self._title
            box.border_subtitle = self.HINT
            yield Static(self.words(min(100, self.app.size.width - PADDING)), markup=False)

    def on_mount(self) -> None:
        self.query_one("#text-dialog").focus()

    def words(self, width: int) -> Text:
        """Return the text for `width` cells."""
        raise NotImplementedError

    def action_down(self) -> None:
        self.query_one("#text-dialog").scroll_down()

    def action_up(self) -> None:
        self.query_one("#text-dialog").scroll_up()

    def action_copy(self) -> None:
        """Copy the subject of the dialog."""
        raise NotImplementedError

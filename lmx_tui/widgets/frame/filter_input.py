"""FilterInput: the one-line text field above a list, which filters it."""

from textual.widgets import Input

from lmx_tui import keys


class FilterInput(Input):
    """Text field with keys that move the focus to the list."""

    BINDINGS = keys.FILTER

    def open(self) -> None:
        """Show and focus the field."""
        self.display = True
        self.cursor_blink = False
        self.focus()

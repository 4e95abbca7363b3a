"""FilterInput: the one-line text field above a list, which filters it."""

from textual.widgets import Input

from lmx_tui import keys


class FilterInput(Input):
    """A text field with keys that lead to the list."""

    BINDINGS = keys.FILTER

    def open(self) -> None:
        """Show the field, and take the focus."""
        self.display = True
        self.cursor_blink = False
        self.focus()

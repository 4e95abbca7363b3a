"""Words: text that costs nothing while it stays the same; most snapshots, twice a second, change little."""

from rich.text import Text
from textual.widgets import Static


class StaticText(Static):
    """A Static that is drawn again only for another text, and laid out again only where its height may change."""

    def __init__(self, text: Text | None = None, *, id: str | None = None, classes: str | None = None) -> None:
        text = text or Text()
        super().__init__(text, markup=False, id=id, classes=classes)
        self._shown = text

    def show(self, text: Text) -> None:
        before, self._shown = self._shown, text
        if looks_same(before, text):
            return
        fixed = bool(text.no_wrap) and bool(before.no_wrap) and bool(before) == bool(text)
        self.update(text, layout=not (fixed and before.plain.count("\n") == text.plain.count("\n")))


def looks_same(one: Text, other: Text) -> bool:
    """Return whether both texts look the same; Text's own comparison leaves out the style of the whole."""
    return one == other and one.style == other.style

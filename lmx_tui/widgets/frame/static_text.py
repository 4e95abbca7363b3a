"""StaticText: text that is drawn only when it changes, since most snapshots change little."""

from rich.text import Text
from textual.widgets import Static


class StaticText(Static):
    """A Static that draws only a different text, and computes a new layout only if its height can change."""

    def __init__(self, text: Text | None = None, *, id: str | None = None, classes: str | None = None) -> None:
        text = text or Text()
        super().__init__(text, markup=False, id=id, classes=classes)
        self._shown = text

    def show(self, text: Text) -> None:
        """Replace the text."""
        before, self._shown = self._shown, text
        if looks_same(before, text):
            return
        fixed = bool(text.no_wrap) and bool(before.no_wrap) and bool(before) == bool(text)
        self.update(text, layout=not (fixed and before.plain.count("\n") == text.plain.count("\n")))


def looks_same(one: Text, other: Text) -> bool:
    """Return whether two texts look the same; Text's own comparison ignores the style of the whole text."""
    return one == other and one.style == other.style

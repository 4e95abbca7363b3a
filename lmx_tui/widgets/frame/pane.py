"""Pane: a bordered part of a screen with a plain-text title and subtitle."""

from textual.containers import Vertical
from textual.content import Content


class Pane(Vertical):
    """A bordered container. Its titles are not markup."""

    DEFAULT_CSS = """
    Pane {
        border: round $faint; border-title-color: $muted; border-subtitle-color: $muted;
        border-subtitle-align: right; padding: 0 1; height: 1fr;
    }
    Pane:focus-within { border: round $accent; border-title-color: $accent; border-subtitle-color: $accent; }
    """

    def __init__(self, title: str = "", *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.border_title = Content(title)

    def titled(self, title: str, subtitle: str = "") -> None:
        """Set title and subtitle, and draw them only if they changed."""
        for name, text in (("border_title", title), ("border_subtitle", subtitle)):
            content = Content(text)
            if getattr(self, name) != content.markup:
                setattr(self, name, content)

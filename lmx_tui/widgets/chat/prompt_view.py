"""PromptView: a message of the user, with its files and its place among its branches."""

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical

from lmx_daemon.contract.admin.chats import StoredMessage
from lmx_daemon.contract.units import size
from lmx_tui.formatting import one_line
from lmx_tui.widgets.chat.message_view import MessageView
from lmx_tui.widgets.frame.static_text import StaticText


class PromptView(Vertical):
    """A message that no model has generated."""

    DEFAULT_CSS = """
    PromptView { height: auto; border-left: outer $user; padding: 0 1; margin-bottom: 1; background: $surface; }
    PromptView > .foot { height: auto; color: $muted; }
    """

    def __init__(self, message: StoredMessage) -> None:
        super().__init__()
        self.message = message
        self.text = MessageView(message.text, markdown=False)
        self._foot = StaticText(classes="foot")

    def compose(self) -> ComposeResult:
        yield self.text
        yield self._foot

    def show(self, message: StoredMessage, place: tuple[int, int]) -> None:
        """Draw what stands below the text."""
        parts = [f"[{place[0]}/{place[1]}]"] if place[1] > 1 else []
        if message.role != "user":
            parts.append(message.role)
        parts += [f"▤ {one_line(file.name)} {size(file.size)}" for file in message.attachments]
        self._foot.display = bool(parts)
        self._foot.show(Text("  ".join(parts)))

"""OfflinePanel: the screen until the first snapshot arrives. Enter starts a daemon."""

from rich.text import Text
from textual.binding import Binding

from lmx_tui.formatting import clean
from lmx_tui.messages import StartRequested, View
from lmx_tui.widgets.frame.static_text import StaticText


class OfflinePanel(StaticText, can_focus=True):
    """The connection error, its hint, and the time of the next attempt."""

    BINDINGS = [Binding("enter", "start", "Start it", key_display="⏎", id="offline.start")]
    DEFAULT_CSS = """
    OfflinePanel {
        display: none; height: auto; width: 1fr; max-width: 84; margin: 1 2; padding: 1 2;
        border: round $error; border-title-color: $error;
    }
    OfflinePanel.-connecting { border: round $faint; border-title-color: $muted; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.border_title = "lmx"

    def show_connection(self, view: View) -> None:
        connecting = view.connection.state == "connecting"
        self.set_class(connecting, "-connecting")
        if view.snapshot is not None or view.online:
            return
        error = view.connection.error
        self.border_title = "connecting" if connecting else "no lmx daemon"
        text = Text()
        if connecting:
            text.append("finding the daemon, or starting one ...")
        else:
            text.append(clean(error.message) if error else "no daemon answers", "bold")
            if error is not None and error.hint:
                text.append(f"\n{clean(error.hint)}", self.app.theme_variables["muted"])
            seconds = view.retry_in
            again = "trying again now" if seconds is None else f"trying again in {seconds:.0f} s"
            text.append("\n\nenter", f"bold {self.app.theme_variables['accent']}").append(" start it now\n")
            text.append(again, self.app.theme_variables["muted"])
        self.show(text)

    def action_start(self) -> None:
        self.post_message(StartRequested())

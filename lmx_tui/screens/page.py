"""Page: the common frame of the screens (top bar, notice, key bar) and the drawing of the app's View."""

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Container
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static

from lmx_daemon.contract.admin.snapshot import Snapshot
from lmx_tui.formatting import clean
from lmx_tui.messages import StartRequested, View
from lmx_tui.widgets.frame.keybar import KeyBar
from lmx_tui.widgets.frame.offline import OfflinePanel
from lmx_tui.widgets.frame.static_text import StaticText
from lmx_tui.widgets.frame.topbar import TopBar

MIN_SIZE = (40, 10)


class Page(Screen[None]):
    """Base of the screens. AUTO_FOCUS names the widget that has the focus when the screen opens."""

    mode = ""
    """Name of the screen in the app's modes."""
    offline_hint = "enter start it"

    def __init__(self) -> None:
        super().__init__()
        self._connection_state = ""
        """Connection state of the last View; the active keys depend on it."""

    def compose(self) -> ComposeResult:
        yield TopBar(self.mode)
        yield StaticText(id="notice")
        yield OfflinePanel()
        with Container(id="body"):
            yield from self.compose_body()
        yield Static(id="too-small", markup=False)
        yield KeyBar()

    def compose_body(self) -> ComposeResult:
        yield from ()

    def on_mount(self) -> None:
        self.watch(self.app, "view", self._view_changed)

    def on_screen_resume(self) -> None:
        self._view_changed(self.view)

    @property
    def view(self) -> View:
        view = getattr(self.app, "view", None)
        assert isinstance(view, View)
        return view

    @property
    def snapshot(self) -> Snapshot | None:
        return self.view.snapshot

    def on_resize(self) -> None:
        width, height = self.app.size
        small = width < MIN_SIZE[0] or height < MIN_SIZE[1]
        self.set_class(small, "-too-small")
        need = f"terminal too small ({width}x{height}), need {MIN_SIZE[0]}x{MIN_SIZE[1]}"
        self.query_one("#too-small", Static).update(Text(need))
        self.call_after_refresh(lambda: self._view_changed(self.view))

    def _view_changed(self, view: View) -> None:
        if getattr(self.app, "leaving", False) or self not in self.app.screen_stack or not self.is_mounted:
            return
        self.query_one(TopBar).view = view
        self.query_one(OfflinePanel).show_connection(view)
        self.set_class(view.snapshot is None and view.connection.state == "offline", "-nothing")
        self.set_class(view.snapshot is not None and not view.online, "-stale")
        self._place_focus()
        if view.connection.state != self._connection_state:
            self._connection_state = view.connection.state
            self.refresh_bindings()
        self._show_notice(view)
        if view.snapshot is not None:
            self.show(view.snapshot)

    def _place_focus(self) -> None:
        """Focus the offline panel while nothing else is shown, else the widget that AUTO_FOCUS names.

        The focus changes at once: Widget.focus() would take effect after the next key.
        """
        panel, nothing = self.query_one(OfflinePanel), self.has_class("-nothing")
        if self.app.app_focus and (self.focused is None or (self.focused is panel) != nothing):
            self.set_focus(panel if nothing else self.main_widget())

    def main_widget(self) -> Widget:
        """Return the widget that has the focus when the screen opens."""
        return self.query_one(str(self.AUTO_FOCUS))

    def _show_notice(self, view: View) -> None:
        words = view.notice
        error = view.connection.error
        if view.connection.state == "offline" and view.snapshot is not None and error is not None:
            words = " · ".join(filter(None, (self.offline_hint, error.message)))
        notice = self.query_one("#notice", StaticText)
        notice.display = bool(words)
        notice.show(Text(f" ! {clean(words)}", no_wrap=True, overflow="ellipsis"))

    def show(self, snapshot: Snapshot) -> None:
        """Draw the body. Called for each snapshot while the screen is shown, and when it is shown again."""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Enable "start" only while no daemon answers. A screen without any snapshot has no other actions."""
        offline = self.view.connection.state == "offline"
        if self.has_class("-nothing") and action in {binding.action for _, binding in self._bindings}:
            return action == "start"
        return {"start": offline, "load": not offline}.get(action, True)

    def action_start(self) -> None:
        self.post_message(StartRequested())

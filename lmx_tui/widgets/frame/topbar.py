"""TopBar: the first row, with screens and their keys, connection, memory, requests and the quit key."""

from collections.abc import Iterable, Mapping

from rich.style import Style
from rich.text import Text
from textual import events
from textual.reactive import var
from textual.widget import Widget

from lmx_daemon.contract.admin.library.pulls import DOWNLOAD_ENDS, Download
from lmx_daemon.contract.admin.snapshot import Snapshot
from lmx_daemon.contract.units import age, gigabytes
from lmx_tui.keys import SCREENS
from lmx_tui.messages import View
from lmx_tui.widgets.frame.static_text import looks_same

TINY = 60
ROOMY = 96
"""Width from which the key of each screen is shown before its name."""
WIDE = 100
"""Width from which labels are written in full."""


def used_memory(snapshot: Snapshot) -> int:
    return snapshot.memory.daemon + snapshot.memory.workers


def active_pulls(downloads: Iterable[Download]) -> int:
    return sum(download.state not in DOWNLOAD_ENDS for download in downloads)


def _old(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 60 else age(seconds)


class TopBar(Widget):
    """A row drawn from the View. Screens and quit can be clicked."""

    DEFAULT_CSS = """
    TopBar { dock: top; height: 1; background: $panel; color: $foreground; }
    """
    ALLOW_SELECT = False
    view: var[View] = var(View(), init=False)

    def __init__(self, mode: str) -> None:
        super().__init__()
        self._mode = mode
        self._drawn = Text()
        self._places: list[tuple[int, int, str]] = []
        """(first cell, end cell, action) of each part that can be clicked."""

    def watch_view(self) -> None:
        """Draw only if the line differs, since most snapshots do not change it."""
        before = self._drawn
        if not looks_same(before, self._line()):
            self.refresh()

    def render(self) -> Text:
        return self._line()

    def _line(self) -> Text:
        """Return the row, and record the action of a click on each part."""
        width = self.size.width
        text = Text(" ", no_wrap=True, overflow="crop", end="")
        self._places = []
        leave = Text()
        if width >= TINY:
            keys = self._keys()
            text.append("lmx ", self._style("bold", "accent"))
            for mode in SCREENS.values():
                self._add_tab(text, mode, keys if width >= ROOMY else {})
            text.append("  ")
            leave = self._key(keys.get("app.quit", "")).append(" Quit ")
        room = width - len(leave)
        for part in self._status(width):
            if len(text) + len(part) <= room:
                text.append_text(part)
        if leave:
            text.append(" " * (room - len(text))).append_text(leave)
            self._places.append((room, width, "leave"))
        self._drawn = text
        return text

    def _add_tab(self, text: Text, mode: str, keys: Mapping[str, str]) -> None:
        tab = self._key(keys.get(f"app.{mode}", "")).append(f" {mode.capitalize()} ")
        if mode == self._mode:
            tab.stylize(self._style("bold reverse"))
        self._places.append((len(text), len(text) + len(tab), f"switch('{mode}')"))
        text.append_text(tab)

    def _key(self, key: str) -> Text:
        return Text().append(f" {key}" if key else "", self._style("bold", "accent"))

    def _keys(self) -> dict[str, str]:
        """Return binding id -> key, as currently bound."""
        bindings = [active.binding for active in reversed(self.screen.active_bindings.values())]
        return {binding.id: self.app.get_key_display(binding) for binding in bindings if binding.id}

    async def on_click(self, event: events.Click) -> None:
        for start, end, action in self._places:
            if start <= event.x < end:
                await self.app.run_action(action)

    # ---- parts of the status, the most important first ----

    def _status(self, width: int) -> list[Text]:
        view, wide = self.view, width >= WIDE
        if view.connection.state == "connecting" or (view.online and view.snapshot is None):
            return [Text("◌ connecting", self._style("", "warning"))]
        if not view.online:
            return self._offline(width)
        assert view.snapshot is not None
        snapshot = view.snapshot
        return [self._connection(snapshot, wide), self._memory(snapshot, width), *self._counts(snapshot, wide)]

    def _offline(self, width: int) -> list[Text]:
        seconds = self.view.retry_in
        retry = "retrying" if seconds is None else f"retry {seconds:.0f}s"
        style = self._style("bold", "error")
        if width < TINY:
            return [Text("○ offline", style)]
        parts = [Text(f"○ offline, {retry}", style)]
        if self.view.snapshot is not None:
            words = f" · {'data ' if width >= WIDE else ''}{_old(self.view.age)} old"
            parts.append(Text(words, self._style("", "muted")))
        return parts

    def _connection(self, snapshot: Snapshot, wide: bool) -> Text:
        ok = snapshot.status.health.ok and not snapshot.status.draining
        text = Text("● " if ok else "! ", self._style("bold", "success" if ok else "warning"))
        if wide:
            port = snapshot.status.address.rpartition(":")[2]
            text.append(f"local :{port}  ", self._style())
        if snapshot.status.draining:
            text.append("stopping  ", self._style("", "warning"))
        return text

    def _memory(self, snapshot: Snapshot, width: int) -> Text:
        used, cap = gigabytes(used_memory(snapshot)), snapshot.memory.cap
        whole = f"{used}/{cap / 1e9:.0f}"
        if width < TINY:
            return Text(whole)
        text = Text("mem ", self._style("", "muted")) if width >= WIDE else Text()
        return text.append(f"{whole} GB" if width >= WIDE else f"{whole}G", self._style())

    def _counts(self, snapshot: Snapshot, wide: bool) -> list[Text]:
        requests = snapshot.requests
        running = sum(request.state in ("prefill", "decode") for request in requests)
        queued = sum(request.state in ("queued", "loading") for request in requests)
        gap, blank = ("   ", " ") if wide else ("  ", "")
        return [
            Text(f"{gap}{sign}{blank}{number}", self._style("", color))
            for sign, number, color in (
                ("▶", running, "success"),
                ("↓", active_pulls(snapshot.downloads), "secondary"),
                ("q", queued, "warning"),
            )
            if number
        ]

    def _style(self, attributes: str = "", color: str = "foreground") -> Style:
        return Style.parse(f"{attributes} {self.app.theme_variables[color]}".strip())

"""The first row: screens, the connection, memory, downloads, requests. Drawn from the View; a click switches."""

from collections.abc import Iterable

from rich.style import Style
from rich.text import Text
from textual import events
from textual.reactive import reactive
from textual.widget import Widget

from lmx_daemon.contract.pulls import DOWNLOAD_ENDS, Download
from lmx_daemon.contract.types import Snapshot
from lmx_tui.figures import age, gigabytes
from lmx_tui.messages import SwitchRequested, View

TABS = (("models", "Models"), ("chat", "Chat"), ("monitor", "Monitor"))
TINY = 60
WIDE = 100


def used_memory(snapshot: Snapshot) -> int:
    return snapshot.memory.daemon + snapshot.memory.workers


def active_pulls(downloads: Iterable[Download]) -> int:
    return sum(download.state not in DOWNLOAD_ENDS for download in downloads)


def _old(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 60 else age(seconds)


class TopBar(Widget):
    DEFAULT_CSS = """
    TopBar { dock: top; height: 1; background: $panel; color: $foreground; }
    """
    ALLOW_SELECT = False
    view: reactive[View] = reactive(View())

    def __init__(self, mode: str) -> None:
        super().__init__()
        self._mode = mode
        self._places: list[tuple[int, int, str]] = []

    def render(self) -> Text:
        width = self.size.width
        text = Text(no_wrap=True, overflow="crop", end="")
        self._places = []
        if width >= TINY:
            text.append(" lmx ", self._style("bold", "accent"))
            for mode, title in TABS:
                start = len(text)
                here = mode == self._mode
                text.append(f" {title} ", self._style("bold reverse") if here else Style())
                self._places.append((start, len(text), mode))
            text.append("  ")
        else:
            text.append(" ")
        for part in self._status(width):
            if len(text) + len(part) <= width:
                text.append_text(part)
        return text

    def on_click(self, event: events.Click) -> None:
        for start, end, mode in self._places:
            if start <= event.x < end:
                self.post_message(SwitchRequested(mode))

    # ---- its parts, the most important first ----

    def _status(self, width: int) -> list[Text]:
        view, wide = self.view, width >= WIDE
        if view.link.state == "connecting":
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
            parts.append(Text(f" · data {_old(self.view.age)} old", self._style("", "muted")))
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

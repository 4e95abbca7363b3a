"""DownloadsPane: the pulls of a snapshot, one row each, active ones first."""

from collections.abc import Sequence

from rich.text import Text
from textual.app import ComposeResult

from lmx_daemon.contract.admin.library.pulls import DOWNLOAD_ENDS, Download
from lmx_daemon.contract.units import UNKNOWN, age, size, size_of
from lmx_tui.formatting import bar, one_line, percent, short_name, shorten
from lmx_tui.widgets.frame.pane import Pane
from lmx_tui.widgets.frame.static_text import StaticText

SHOWN = 5
GLYPHS = {"failed": "!", "done": "✓", "cancelled": "-", "paused": "‖"}
COLORS = {"failed": "error", "done": "success", "cancelled": "muted", "paused": "muted"}
ROOMY = 90
NAME_CELLS = (22, 40)


class DownloadsPane(Pane):
    """The list of pulls. Hidden while there is none."""

    DEFAULT_CSS = """
    DownloadsPane { height: auto; max-height: 7; display: none; }
    DownloadsPane.-some { display: block; }
    DownloadsPane > Static { height: auto; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    def __init__(self) -> None:
        super().__init__("Downloads", id="pulls", classes="live")
        self._text = StaticText()
        self._downloads: Sequence[Download] = ()

    def on_resize(self) -> None:
        self.show(self._downloads)

    def compose(self) -> ComposeResult:
        yield self._text

    def show(self, downloads: Sequence[Download]) -> None:
        self._downloads = downloads
        self.set_class(bool(downloads), "-some")
        if not downloads:
            return
        active = sum(download.state not in DOWNLOAD_ENDS for download in downloads)
        self.titled("Downloads", f"{active} active · ^p cancels" if active else "")
        width = max(30, self.content_size.width)
        text = Text(no_wrap=True, overflow="ellipsis")
        for number, download in enumerate(in_order(downloads)[:SHOWN]):
            text.append("\n" if number else "")
            text.append_text(self._row(download, width))
        self._text.show(text)

    def _row(self, download: Download, width: int) -> Text:
        colors = self.app.theme_variables
        room = NAME_CELLS[width >= ROOMY]
        text = Text(f"{GLYPHS.get(download.state, '↓')} ", colors[COLORS.get(download.state, "secondary")])
        text.append(f"{shorten(short_name(download.repo), room):<{room}} ", colors["foreground"])
        return text.append_text(Text(pull_words(download, width - room - 3), colors["muted"]))


def in_order(downloads: Sequence[Download]) -> list[Download]:
    """Return the pulls in the order active, queued, ended (the latest first)."""

    def place(pull: Download) -> tuple[bool, int, float]:
        waits = -1 if pull.position is None else pull.position
        return pull.state in DOWNLOAD_ENDS, waits, -pull.started_at

    return sorted(downloads, key=place)


def pull_words(download: Download, room: int) -> str:
    """Return the state and progress of a pull, in as many parts as fit `room`."""
    if download.state == "failed" and download.error is not None:
        hint = f" ({one_line(download.error.hint)})" if download.error.hint else ""
        return shorten(one_line(download.error.message) + hint, room)
    if download.state in ("done", "cancelled"):
        return f"{download.state}  {size(download.done)}"
    parts = _parts(download)
    line = parts[0]
    for part in parts[1:]:
        if len(line) + len(part) + 2 > room:
            break
        line += f"  {part}"
    left = room - len(line) - 2
    return f"{line}  {shorten(one_line(download.note), left)}" if download.note and left > 0 else line


def _parts(download: Download) -> list[str]:
    """Return the parts of the line, the most important first."""
    if download.state == "verifying" and download.to_check:
        checked, whole = download.checked, download.to_check
        return [download.state, _share(checked, whole), size_of(checked, whole)]
    known = [_share(download.done, download.total), size_of(download.done, download.total)]
    if download.state == "downloading":
        return [*known, f"{size(download.rate)}/s" if download.rate else UNKNOWN, f"ETA {age(download.eta)}"]
    if download.state == "queued":
        return [_place(download), *(known if download.done else [])]
    return [download.state, *known]


def _share(done: int, total: int | None) -> str:
    fraction = done / total if total else None
    return f"{bar(fraction, 10)} {percent(fraction):>4}"


def _place(download: Download) -> str:
    if download.position is None:
        return "queued"
    return "queued, next" if download.position == 0 else f"queued, {download.position} before it"

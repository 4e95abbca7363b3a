"""HelpDialog: the current key bindings of the screen below it, and facts about the daemon."""

from typing import Any

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

from lmx_daemon.contract.admin.snapshot import Snapshot
from lmx_daemon.contract.units import UNKNOWN, timing
from lmx_tui.formatting import one_line
from lmx_tui.keymap import bindings

OFFLINE = frozenset({"offline.start"})


def keys_shown(screen: Screen[Any]) -> tuple[dict[str, str], dict[str, str]]:
    """Return key -> description of the active bindings: those of the screen, and those of the app.

    Textual's editing keys are not listed.
    """
    listed = bindings().keys() | OFFLINE
    here: dict[str, str] = {}
    everywhere: dict[str, str] = {}
    for active in sorted(screen.active_bindings.values(), key=lambda active: not active.binding.show):
        binding = active.binding
        if not binding.system and binding.id in listed:
            place = everywhere if active.node is screen.app else here
            _add_key(place, screen.app.get_key_display(binding), binding)
    return here, everywhere


def _add_key(place: dict[str, str], key: str, binding: Binding) -> None:
    """Add a key; keys with the same description share one entry."""
    what = binding.tooltip or binding.description
    for known, words in place.items():
        if words == what:
            place[f"{known}, {key}"] = place.pop(known)
            return
    place[key] = what


class HelpDialog(ModalScreen[None]):
    """A scrollable list of keys and facts."""

    BINDINGS = [Binding("escape,q,f1,question_mark,enter", "dismiss", "Close", id="help.close")]

    def __init__(self, title: str, here: dict[str, str], everywhere: dict[str, str], snapshot: Snapshot | None) -> None:
        """Show `here`, the keys of the screen, and `everywhere`, those of the app, each as key -> description."""
        super().__init__()
        self._title, self._here, self._everywhere, self._snapshot = title, here, everywhere, snapshot

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog", id="help") as box:
            box.border_title = f"Keys · {self._title}"
            box.border_subtitle = "esc close"
            yield Static(self._words(), markup=False)

    def on_mount(self) -> None:
        self.query_one("#help").focus()

    def _words(self) -> Text:
        names = self.app.theme_variables
        text = Text()
        for heading, keys in (("This screen", self._here), ("Everywhere", self._everywhere)):
            text.append(f"{heading}\n", "bold")
            for key, what in keys.items():
                text.append(f"  {key:<18}", names["accent"]).append(f"{what}\n")
            text.append("\n")
        text.append("lmx\n", "bold")
        for name, value in self._facts():
            text.append(f"  {name:<18}", names["muted"]).append(f"{value}\n")
        return text

    def _facts(self) -> list[tuple[str, str]]:
        if self._snapshot is None:
            return [("daemon", "not running")]
        status = self._snapshot.status
        versions = ", ".join(f"{name} {version}" for name, version in status.versions.items())
        return [
            ("address", f"{one_line(status.address)}/v1"),
            ("version", one_line(status.version)),
            ("up", timing(status.uptime)),
            ("computes", one_line(status.backend) or UNKNOWN),
            ("with", one_line(versions) or UNKNOWN),
            ("log", one_line(status.log_file) or UNKNOWN),
        ]

"""FilePicker: a choice of a file by parts of its path."""

import asyncio
import re
from pathlib import Path

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from lmx_tui.formatting import clean
from lmx_tui.screens.chat.reading import files_below
from lmx_tui.screens.dialogs.questions import Dialog

SHOWN = 50


class FilePicker(Dialog[str | None]):
    """The files below a folder. The result is the path of the chosen file."""

    BINDINGS = [
        Binding("escape", "dismiss(None)", "Cancel", id="file.cancel"),
        Binding("down", "row(1)", "Down", show=False, id="file.down"),
        Binding("up", "row(-1)", "Up", show=False, id="file.up"),
    ]

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._paths: list[str] = []
        self._shown: list[str] = []

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = Content("Attach a file")
            box.border_subtitle = "enter attach · esc cancel"
            yield Input(placeholder="parts of its path, or a whole path", compact=True)
            yield OptionList(compact=True)

    def on_mount(self) -> None:
        self.query_one(Input).cursor_blink = False
        self.query_one(Input).focus()
        self.query_one(OptionList).can_focus = False
        self.run_worker(self._read(), exit_on_error=False)

    async def _read(self) -> None:
        self._paths = await asyncio.to_thread(files_below, self._folder)
        self._show(self.query_one(Input).value)

    def _show(self, words: str) -> None:
        self._shown = matching(self._paths, words)
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options([Option(Content(clean(path))) for path in self._shown])
        options.highlighted = 0 if self._shown else None

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        self._show(event.value)

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        place = self.query_one(OptionList).highlighted
        if event.value.startswith(("/", "~")):
            self.reply(event.value)
        elif place is not None and place < len(self._shown):
            self.reply(str(self._folder / self._shown[place]))

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        self.reply(str(self._folder / self._shown[event.option_index]))

    def action_row(self, step: int) -> None:
        options = self.query_one(OptionList)
        (options.action_cursor_down if step > 0 else options.action_cursor_up)()


def matching(paths: list[str], words: str, most: int = SHOWN) -> list[str]:
    """Return the paths that have the letters of `words` in their order, the best first.

    Adjacent letters rank above scattered ones, and letters of the file's name above those of its folders. Textual's own
    matcher needs 0.1 s for some thousand paths, which would delay each key.
    """
    letters = "".join(words.lower().split())
    if not letters:
        return paths[:most]
    spread = re.compile("".join(f"[^{re.escape(letter)}]*{re.escape(letter)}" for letter in letters))
    scored = []
    for path in paths:
        whole = path.lower()
        if spread.match(whole) is None:
            continue
        name = whole.rpartition("/")[2]
        rank = 0 if letters in name else 1 if letters in whole else 2 if spread.match(name) else 3
        scored.append((rank, len(path), path))
    return [path for _, _, path in sorted(scored)[:most]]

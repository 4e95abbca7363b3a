"""Dialogs on top of a screen: a confirmation, a line of text, a choice from a list, and the screen to go to."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from rich.text import Text
from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input, OptionList, Static
from textual.widgets.option_list import Option

from lmx_tui.formatting import clean
from lmx_tui.keys import SCREENS

Reply = TypeVar("Reply")


class Dialog(ModalScreen[Reply]):
    """A modal screen that returns one reply."""

    def reply(self, value: Reply) -> None:
        """Close with `value`. Has no effect on a closed dialog, which a second key can still reach."""
        if self.is_active:
            self.dismiss(value)


class Confirm(Dialog[bool]):
    """A yes-or-no question. Cancel has the focus; the action has a letter of its own."""

    BINDINGS = [Binding("escape", "dismiss(False)", "Cancel", id="confirm.cancel")]

    def __init__(self, question: str, detail: str, act: str, letter: str) -> None:
        super().__init__()
        self._question, self._detail, self._act, self._letter = question, detail, act, letter

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = Content(self._question)
            yield Static(Text(clean(self._detail)), classes="words", markup=False)
            with Horizontal(classes="buttons"):
                yield Button("Cancel", id="cancel", compact=True)
                yield Button(Content(f"{self._act} ({self._letter})"), id="act", variant="error", compact=True)

    def on_mount(self) -> None:
        self.query_one("#cancel").focus()

    def on_key(self, event: events.Key) -> None:
        if event.character == self._letter and self.is_active:
            event.stop()
            self.reply(True)
        elif event.key in ("left", "right"):
            self.focus_next()

    @on(Button.Pressed)
    def pressed(self, event: Button.Pressed) -> None:
        self.reply(event.button.id == "act")


class AskText(Dialog[str | None]):
    """A question that is answered with one line of text."""

    BINDINGS = [Binding("escape", "dismiss(None)", "Cancel", id="ask.cancel")]

    def __init__(self, title: str, words: str, placeholder: str, value: str = "") -> None:
        super().__init__()
        self._title, self._words, self._placeholder, self._value = title, words, placeholder, value

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = Content(self._title)
            box.border_subtitle = "enter go on · esc cancel"
            yield Static(Text(self._words), classes="words", markup=False)
            yield Input(self._value, placeholder=self._placeholder, compact=True)

    def on_mount(self) -> None:
        self.query_one(Input).cursor_blink = False
        self.query_one(Input).focus()

    @on(Input.Submitted)
    def submitted(self, event: Input.Submitted) -> None:
        self.reply(event.value.strip() or None)


class Pick(Dialog[str | None]):
    """A choice from a list of (value, label). `preview` is called with each value that the cursor reaches."""

    BINDINGS = [
        Binding("escape", "dismiss(None)", "Cancel", id="pick.cancel"),
        Binding("j", "down", "Down", show=False, id="pick.down"),
        Binding("k", "up", "Up", show=False, id="pick.up"),
    ]

    def __init__(
        self,
        title: str,
        options: Sequence[tuple[str, str]],
        current: str | None = None,
        preview: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__()
        self._title, self._options, self._current, self._preview = title, options, current, preview

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = Content(self._title)
            box.border_subtitle = "enter take · esc cancel"
            width = max((len(words) for _, words in self._options), default=10)
            box.styles.width = min(76, max(40, width + 8))
            yield OptionList(*(Option(Content(clean(words))) for _, words in self._options), compact=True)

    def on_mount(self) -> None:
        options = self.query_one(OptionList)
        values = [value for value, _ in self._options]
        options.highlighted = values.index(self._current) if self._current in values else 0
        options.focus()

    def action_down(self) -> None:
        self.query_one(OptionList).action_cursor_down()

    def action_up(self) -> None:
        self.query_one(OptionList).action_cursor_up()

    @on(OptionList.OptionHighlighted)
    def highlighted(self, event: OptionList.OptionHighlighted) -> None:
        if self._preview is not None:
            self._preview(self._options[event.option_index][0])

    @on(OptionList.OptionSelected)
    def selected(self, event: OptionList.OptionSelected) -> None:
        self.reply(self._options[event.option_index][0])


TOP = "top"
"""Reply of GoDialog to a second `g`, which goes to the first row of a list as in vi."""


class GoDialog(Dialog[str | None]):
    """The line after `g`: the next letter chooses the screen."""

    def compose(self) -> ComposeResult:
        screens = "   ".join(f"{key} {mode.capitalize()}" for key, mode in SCREENS.items())
        yield Static(Text(f" g  then  {screens}   esc"), id="go", markup=False)

    def on_key(self, event: events.Key) -> None:
        if self.is_active:
            event.stop()
            self.reply(TOP if event.key == "g" else SCREENS.get(event.key))

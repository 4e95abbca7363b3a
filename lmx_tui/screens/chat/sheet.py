"""ParameterSheet: model, system prompt, sampling, preset and thinking of a chat."""

from typing import Any

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widgets import Button, Input, Static, TextArea

from lmx_daemon.contract.admin.chats import ChatSettings
from lmx_daemon.contract.requests import Sampling
from lmx_tui.formatting import one_line, shorten
from lmx_tui.screens.dialogs import Dialog

SAMPLING = {
    "temperature": "0 to 2; 0 always takes the most likely token",
    "top_p": "0 to 1; share of probability that is kept",
    "top_k": "number of most likely tokens that are kept; 0 keeps all",
    "min_p": "0 to 1; relative to the most likely token",
    "repetition_penalty": "1 is off",
    "seed": "the same seed gives the same answer",
}
"""Field of Sampling -> its help."""
THINKING = {"": None, "on": True, "off": False}


class ParameterSheet(Dialog[object]):
    """The sheet. It returns the changed settings by their names, MODEL, or None."""

    MODEL = "model"
    BINDINGS = [
        Binding("escape", "dismiss(None)", "Cancel", id="sheet.cancel"),
        Binding("ctrl+o", "save", "Save", show=False, id="sheet.save"),
        Binding("down", "app.focus_next", "Next", show=False, id="sheet.next"),
        Binding("up", "app.focus_previous", "Previous", show=False, id="sheet.previous"),
    ]

    def __init__(self, model: str, settings: ChatSettings) -> None:
        super().__init__()
        self._model, self._settings = model, settings

    def compose(self) -> ComposeResult:
        settings = self._settings
        with VerticalScroll(classes="dialog", id="sheet", can_focus=False) as box:
            box.border_title = Content("Parameters of this chat")
            box.border_subtitle = "^o or enter save · tab next · esc cancel"
            with Horizontal(classes="row"):
                yield Static("model", classes="name", markup=False)
                yield Button(Content(shorten(one_line(self._model), 48)), id="model", compact=True)
            yield Static("system prompt", classes="name", markup=False)
            yield TextArea(settings.system or "", id="system", soft_wrap=True, compact=True, tab_behavior="focus")
            for name, words in SAMPLING.items():
                yield from _row(name, getattr(settings.sampling, name), words)
            yield from _row("max_tokens", settings.max_tokens, "of one answer; empty: up to the context")
            yield from _row("stop", ", ".join(settings.stop) or None, "texts that end an answer, with commas")
            thinking = next(word for word, value in THINKING.items() if value is settings.thinking)
            yield from _row("thinking", thinking or None, "on or off; empty: the model's own default")
            yield from _row("preset", settings.preset or None, "a name of lmx preset list")
            yield Static("Empty fields leave the value to the preset, else to the model.", id="fault", markup=False)

    def on_mount(self) -> None:
        for field in self.query(Input):
            field.cursor_blink = False
        self.query_one(TextArea).cursor_blink = False
        self.query_one("#model").focus()

    @on(Button.Pressed)
    def _pressed(self) -> None:
        self.reply(self.MODEL)

    @on(Input.Submitted)
    def action_save(self) -> None:
        """Save, or name the field that is wrong."""
        try:
            self.reply(self._changes())
        except (ValueError, msgspec.ValidationError) as error:
            self.query_one("#fault", Static).update(Content(str(error)))
            self.query_one("#fault").add_class("-wrong")

    def _changes(self) -> dict[str, Any]:
        values = {field.id or "": field.value.strip() for field in self.query(Input)}
        thinking = values["thinking"].lower()
        if thinking not in THINKING:
            raise ValueError("thinking is on, off or empty")
        changes = {
            "system": self.query_one(TextArea).text.strip() or None,
            "sampling": {name: _number(name, values[name]) for name in SAMPLING},
            "max_tokens": _number("max_tokens", values["max_tokens"]),
            "stop": [word for part in values["stop"].split(",") if (word := part.strip())],
            "thinking": THINKING[thinking],
            "preset": values["preset"],
        }
        found = msgspec.convert(changes, ChatSettings)
        bias = self._settings.sampling.logit_bias
        sampling = msgspec.structs.replace(found.sampling, logit_bias=bias) if bias else found.sampling
        assert isinstance(sampling, Sampling)
        return {name: getattr(found, name) for name in changes} | {"sampling": sampling}


def _row(name: str, value: object, words: str) -> ComposeResult:
    with Horizontal(classes="row"):
        yield Static(name.replace("_", " "), classes="name", markup=False)
        yield Input("" if value is None else str(value), id=name, placeholder=words, compact=True)


def _number(name: str, text: str) -> int | float | None:
    if not text:
        return None
    try:
        return int(text) if text.lstrip("-").isdigit() else float(text)
    except ValueError:
        raise ValueError(f"{name.replace('_', ' ')} is a number, not {text[:20]!r}") from None

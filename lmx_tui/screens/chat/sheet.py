"""ParameterSheet: model, system prompt, sampling, preset and thinking of a chat, each beside its default."""

from functools import partial
from typing import Any

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widgets import Button, Input, Static, TextArea

from lmx_daemon.contract.admin.chats import ChatSettings
from lmx_daemon.contract.admin.defaults import RequestDefaults
from lmx_daemon.contract.errors import ErrorBody
from lmx_daemon.contract.generation.preset import PRESET_NAME, PresetChange, PresetRow
from lmx_daemon.contract.generation.requests import Sampling
from lmx_tui.formatting import clean, one_line, shorten
from lmx_tui.messages import Notified, QueryRequested
from lmx_tui.screens.chat.sheet_fields import FIELDS, SAMPLING, default_words, label, preset_values, text_of, value_of
from lmx_tui.screens.dialogs.questions import AskText, Confirm, Dialog

PRESET_WORDS = "The values of this sheet under a name of your choice.\nlmx preset set does the same."
PRESET_RULE = "letters, digits, '.', '_' and '-', a letter or digit first"
REST = "A field without a value has the one beside it. ^n saves the values of this sheet as a preset."


class ParameterSheet(Dialog[object]):
    """The sheet. Its result is the changed settings by name, MODEL to choose another model, or None."""

    MODEL = "model"
    BINDINGS = [
        Binding("escape", "dismiss(None)", "Cancel", id="sheet.cancel"),
        Binding("ctrl+o", "save", "Save", show=False, id="sheet.save"),
        Binding("ctrl+n", "save_preset", "Save as a preset", show=False, id="sheet.save_preset"),
        Binding("ctrl+r", "clear", "Clear the field", show=False, id="sheet.clear"),
        Binding("down", "app.focus_next", "Next", show=False, id="sheet.next"),
        Binding("up", "app.focus_previous", "Previous", show=False, id="sheet.previous"),
    ]

    def __init__(self, model: str | None, settings: ChatSettings) -> None:
        super().__init__()
        self._model, self._settings = model, settings
        self._preset_fault = ""
        """Reason why the preset cannot be used, as the daemon has stated it."""

    def compose(self) -> ComposeResult:
        settings = self._settings
        with VerticalScroll(classes="dialog", id="sheet", can_focus=False) as box:
            box.border_title = Content("Parameters of this chat")
            box.border_subtitle = "^o or enter save · tab next · ^r clear · esc cancel"
            with Horizontal(classes="row"):
                yield Static("model", classes="name", markup=False)
                model = shorten(one_line(self._model or "no model"), 48)
                yield Button(Content(model), id="model", compact=True)
            yield Static("system prompt", classes="name", markup=False)
            yield TextArea(settings.system or "", id="system", soft_wrap=True, compact=True, tab_behavior="focus")
            for name in FIELDS:
                value = getattr(settings.sampling if name in SAMPLING else settings, name)
                with Horizontal(classes="row"):
                    yield Static(label(name), classes="name", markup=False)
                    yield Input(text_of(name, value), id=name, compact=True)
                    yield Static(Content(FIELDS[name]), id=f"{name}-default", classes="default", markup=False)
            yield Static(REST, id="fault", markup=False)

    def on_mount(self) -> None:
        for field in self.query(Input):
            field.cursor_blink = False
        self.query_one(TextArea).cursor_blink = False
        self.query_one("#model").focus()
        self._read_defaults()

    @on(Button.Pressed)
    def _pressed(self) -> None:
        self.reply(self.MODEL)

    @on(Input.Submitted)
    def action_save(self) -> None:
        """Save, or name the field that is wrong."""
        if (changes := self._changes()) is not None:
            self.reply(changes)

    def action_clear(self) -> None:
        """Clear the focused field, so that its default applies."""
        if isinstance(self.focused, Input):
            self.focused.value = ""
        elif isinstance(self.focused, TextArea):
            self.focused.text = ""

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        """Check the changed field, and show its error at once."""
        if event.input.id == "preset":
            self._read_defaults()
        event.input.set_class(_fault(event.input) != "", "-wrong")
        self._show_fault()

    # ---- defaults ----

    def _read_defaults(self) -> None:
        """Read the defaults of the sheet's fields, which depend on the model and on the preset."""
        model, preset = self._model, self.query_one("#preset", Input).value.strip()
        if model is not None:
            self.post_message(
                QueryRequested(
                    "defaults",
                    lambda client: client.request_defaults(model, preset),
                    self._show_defaults,
                    self._defaults_failed,
                )
            )

    def _show_defaults(self, found: RequestDefaults) -> None:
        if not self.is_attached:
            return
        self._preset_fault = ""
        for name in FIELDS:
            default = found.values.get(name)
            self.query_one(f"#{name}", Input).placeholder = text_of(name, default.value) if default else ""
            self.query_one(f"#{name}-default", Static).update(Content(clean(default_words(name, default))))
        system = found.values.get("system")
        self.query_one(TextArea).placeholder = clean(str(system.value)) if system else ""
        self._show_fault()

    def _defaults_failed(self, error: ErrorBody) -> None:
        if self.is_attached:
            self._preset_fault = clean(error.message) if error.param == "preset" else ""
            self._show_fault()

    # ---- presets ----

    def action_save_preset(self) -> None:
        """Ask for a name, and save the values of the sheet as a preset."""
        if (changes := self._changes()) is None:
            return

        def named(name: str | None) -> None:
            if name is None:
                return
            if not PRESET_NAME.fullmatch(name):
                self.post_message(Notified(f"{name[:40]!r} cannot be the name of a preset", PRESET_RULE, "warning"))
                return
            found = partial(self._save_named, name, changes)
            self.post_message(QueryRequested("presets", lambda client: client.presets(), found))

        self.app.push_screen(AskText("Save as a preset", PRESET_WORDS, "name", str(changes["preset"])), named)

    def _save_named(self, name: str, changes: dict[str, Any], rows: list[PresetRow]) -> None:
        """Save the preset; one of that name is replaced after a confirmation."""
        known = {row.name: row.preset for row in rows}
        change = PresetChange(name=name, values=preset_values(changes, known.get(str(changes["preset"]))))

        def confirmed(yes: bool | None) -> None:
            if yes:
                self.post_message(
                    QueryRequested("save preset", lambda client: client.change_preset(change), self._preset_saved)
                )

        if name not in known:
            confirmed(True)
        elif self.is_attached:
            detail = f"Requests that name it get the values of this sheet.\nlmx preset show {name} shows it."
            self.app.push_screen(Confirm(f"Replace the preset {name}?", detail, "Replace", "R"), confirmed)

    def _preset_saved(self, row: PresetRow) -> None:
        self.post_message(Notified(f"saved as preset {row.name}", f"lmx preset show {row.name}"))
        if self.is_attached:
            self.query_one("#preset", Input).value = row.name

    # ---- values ----

    def _show_fault(self) -> None:
        words = next((fault for field in self.query(Input) if (fault := _fault(field))), self._preset_fault)
        self.query_one("#fault", Static).update(Content(words or REST))
        self.query_one("#fault").set_class(bool(words), "-wrong")

    def _changes(self) -> dict[str, Any] | None:
        """Return the settings of the sheet. If a field is wrong, focus it and return None."""
        wrong = next((field for field in self.query(Input) if _fault(field)), None)
        if wrong is not None:
            wrong.focus()
            self._show_fault()
            return None
        values = {name: value_of(name, self.query_one(f"#{name}", Input).value) for name in FIELDS}
        bias = self._settings.sampling.logit_bias
        sampling = msgspec.structs.replace(Sampling(logit_bias=bias), **{name: values.pop(name) for name in SAMPLING})
        return values | {"system": self.query_one(TextArea).text.strip() or None, "sampling": sampling}


def _fault(field: Input) -> str:
    """Return the error of a field's value; "" if it is valid."""
    try:
        value_of(field.id or "", field.value)
    except ValueError as error:
        return str(error)
    return ""

"""LoadSheet: the memory plan of a load, which follows the context and the slots as they are typed. Enter loads."""

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.timer import Timer
from textual.widgets import Checkbox, Input, OptionList
from textual.widgets.option_list import Option

from lmx_daemon.contract.admin.protocol import LoadRequest
from lmx_daemon.contract.admin.snapshot import Snapshot
from lmx_daemon.contract.errors import ErrorBody
from lmx_daemon.contract.models import Model, Verdict
from lmx_tui.formatting import clean, one_line, short_name, with_hint
from lmx_tui.messages import CopyRequested, QueryRequested, UnloadRequested, View
from lmx_tui.screens.dialogs.questions import Dialog
from lmx_tui.screens.models.model_verbs import ask_unload
from lmx_tui.widgets.frame.static_text import StaticText
from lmx_tui.widgets.frame.topbar import used_memory
from lmx_tui.widgets.models.load_options import (
    alternative_words,
    effect_words,
    freed_by,
    load_command,
    load_request,
    shorter_context,
)
from lmx_tui.widgets.models.plan import plan_bars

TYPING_SECONDS = 0.3
"""Time without a key after which the plan is asked for."""


class PinBox(Checkbox, inherit_bindings=False):
    """A check box that leaves enter to its sheet. Its state is visible without colour."""

    BINDINGS = [Binding("space", "toggle_button", "Toggle", show=False, id="load_sheet.pin")]
    BUTTON_LEFT, BUTTON_INNER, BUTTON_RIGHT = "[", " ", "]"

    def watch_value(self) -> None:
        self.BUTTON_INNER = "x" if self.value else " "
        super().watch_value()


class LoadSheet(Dialog[LoadRequest | None]):
    """The sheet of one model. It returns the load, or None."""

    BINDINGS = [
        Binding("escape", "dismiss(None)", "Cancel", id="load_sheet.cancel"),
        Binding("enter", "load", "Load", show=False, id="load_sheet.load"),
        Binding("ctrl+y", "copy", "Copy the command", show=False, id="load_sheet.copy"),
        Binding("down", "app.focus_next", "Next", show=False, id="load_sheet.next"),
        Binding("up", "app.focus_previous", "Previous", show=False, id="load_sheet.previous"),
    ]

    def __init__(self, model: Model) -> None:
        super().__init__()
        self._model = model
        self._request = LoadRequest(model=model.id)
        """The load as typed so far."""
        self._asked: LoadRequest | None = None
        """The load whose plan was asked for last."""
        self._verdict: Verdict | None = None
        """The plan of `_asked`; None until it has come."""
        self._fault = ""
        self._instances: tuple[str, ...] | None = None
        self._timer: Timer | None = None

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog load", id="sheet", can_focus=False) as box:
            box.border_title = Content(f"Load {short_name(self._model.id)}")
            box.border_subtitle = "enter load · tab next · ^y copy command · esc cancel"
            yield StaticText(id="load-plan")
            yield OptionList(id="ways", compact=True)
            with Horizontal(classes="row"):
                yield StaticText(Text("context"), classes="label")
                yield Input(id="context", placeholder="the model's own", compact=True)
                yield StaticText(Text("slots"), classes="label short")
                yield Input(id="slots", placeholder="1", compact=True)
            with Horizontal(classes="row"):
                yield StaticText(Text("unload after"), classes="label")
                yield Input(id="ttl", placeholder="30m; empty: never", compact=True)
                yield StaticText(Text("pin"), classes="label short")
                yield PinBox("stays in memory", id="pin", compact=True)
            yield StaticText(id="load-command")

    def on_mount(self) -> None:
        for field in self.query(Input):
            field.cursor_blink = False
        self.query_one("#ways").display = False
        self.query_one("#context").focus()
        self.watch(self.app, "view", self._view_changed)

    # ---- the plan ----

    def _view_changed(self, view: View) -> None:
        """Ask for the plan again once other models are in memory, since it depends on the free memory."""
        if view.snapshot is None:
            return
        present = tuple(f"{instance.id} {instance.state}" for instance in view.snapshot.instances)
        if present != self._instances:
            self._instances = present
            self._ask()

    def _ask(self) -> None:
        request = self._asked = self._request

        def came(verdict: Verdict) -> None:
            if self.is_mounted and request == self._asked:
                self._show_verdict(verdict)

        def failed(error: ErrorBody) -> None:
            if self.is_mounted and request == self._asked:
                self._fault = with_hint(error)
                self._draw()

        self._verdict = None
        self.post_message(QueryRequested("load plan", lambda client: client.plan(request), came, failed))
        self._draw()

    def _show_verdict(self, verdict: Verdict) -> None:
        self._verdict = verdict
        ways = self.query_one("#ways", OptionList)
        ways.clear_options()
        ways.add_options([Option(Content(alternative_words(choice))) for choice in verdict.alternatives])
        ways.display = bool(verdict.alternatives)
        ways.highlighted = 0 if verdict.alternatives else None
        self._draw()

    def _draw(self) -> None:
        colors, text = self.app.theme_variables, Text()
        snapshot = self._snapshot()
        if self._verdict is not None and snapshot is not None:
            freed = freed_by(self._verdict, snapshot.instances)
            width = max(24, self.query_one("#load-plan").size.width)
            text = plan_bars(self._verdict, used_memory(snapshot), colors, width, freed=freed)
            effect = effect_words(self._verdict, snapshot.instances, snapshot.taken_at)
            notes = [effect, shorter_context(self._request, self._verdict), *self._without_alternative()]
            text.append("".join(f"{clean(note)}\n" for note in notes if note), colors["warning"])
        elif not self._fault:
            text.append("planning ...", colors["muted"])
        self.query_one("#load-plan", StaticText).show(text)
        command = Text(one_line(load_command(self._request)), colors["muted"])
        if self._fault:
            command = Text(clean(self._fault), colors["error"])
        self.query_one("#load-command", StaticText).show(command)

    def _without_alternative(self) -> list[str]:
        """Return the daemon's hint for a refused load that no other size makes fit."""
        verdict = self._verdict
        if verdict is None or verdict.error is None or verdict.alternatives:
            return []
        return [verdict.error.hint or verdict.error.message]

    def _snapshot(self) -> Snapshot | None:
        view = getattr(self.app, "view", None)
        return view.snapshot if isinstance(view, View) else None

    # ---- the fields ----

    @on(Input.Changed)
    @on(Checkbox.Changed)
    def _typed(self) -> None:
        values = {field.id: field.value for field in self.query(Input)}
        before, self._fault = self._request, ""
        try:
            self._request = load_request(
                self._model.id, values["context"], values["slots"], values["ttl"], pin=self.query_one(PinBox).value
            )
        except ValueError as error:
            self._fault = str(error)
        sizes = [(request.context_length, request.slots) for request in (before, self._request)]
        if sizes[0] != sizes[1]:
            if self._timer is not None:
                self._timer.stop()
            self._timer = self.set_timer(TYPING_SECONDS, self._ask)
        self._draw()

    @on(OptionList.OptionSelected)
    def _way_chosen(self, event: OptionList.OptionSelected) -> None:
        """Take an alternative of the daemon: its sizes, or the unload of a pinned model."""
        choice = self._verdict.alternatives[event.option_index] if self._verdict is not None else None
        if choice is None:
            return
        if choice.unload is None:
            self.query_one("#context", Input).value = str(choice.context or "")
            self.query_one("#slots", Input).value = str(choice.slots or "")
            self.query_one("#context").focus()
            return
        snapshot = self._snapshot()
        found = next((one for one in snapshot.instances if one.id == choice.unload), None) if snapshot else None
        if found is not None:
            ask_unload(self, UnloadRequested(found.id, found.model), found.running + found.waiting)

    # ---- verbs ----

    @on(Input.Submitted)
    def action_load(self) -> None:
        """Load, unless a field is wrong or the daemon has answered that the load does not fit."""
        if self._fault:
            return
        refused = self._verdict is not None and self._verdict.outcome == "refused"
        if not refused or self._asked_other_sizes():
            self.reply(self._request)
        elif self.query_one("#ways").display:
            self.query_one("#ways").focus()

    def _asked_other_sizes(self) -> bool:
        """Return whether the plan shown is that of other sizes than those typed."""
        asked, wanted = self._asked, self._request
        return asked is None or (asked.context_length, asked.slots) != (wanted.context_length, wanted.slots)

    def action_copy(self) -> None:
        self.post_message(CopyRequested(load_command(self._request), "command"))

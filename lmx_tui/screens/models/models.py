"""ModelsScreen: the models on disk and in memory. Draws snapshots, and posts requests to load, unload and pull."""

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import DataTable, Input

from lmx_daemon.contract.admin.library.hub import CardRequest
from lmx_daemon.contract.admin.snapshot import Snapshot
from lmx_daemon.contract.models import Model
from lmx_tui import keys
from lmx_tui.choices import Choices
from lmx_tui.formatting import short_name
from lmx_tui.messages import (
    ChatRequested,
    ChoiceMade,
    CopyRequested,
    LoadSheetRequested,
    Notified,
    PullRequested,
    UnloadRequested,
    UpdateRequested,
)
from lmx_tui.screens.dialogs.questions import Confirm, Pick
from lmx_tui.screens.dialogs.text_dialog import PADDING
from lmx_tui.screens.models import model_verbs as verbs
from lmx_tui.screens.models.first_run import FirstRun
from lmx_tui.screens.models.hub import HubDialog
from lmx_tui.screens.models.model_plans import ModelPlans
from lmx_tui.screens.page import Page
from lmx_tui.widgets.frame.filter_input import FilterInput
from lmx_tui.widgets.frame.pane import Pane
from lmx_tui.widgets.frame.table import Table
from lmx_tui.widgets.models.detail import ModelDetail
from lmx_tui.widgets.models.downloads import DownloadsPane
from lmx_tui.widgets.models.model_query import HELP, query_of
from lmx_tui.widgets.models.model_rows import (
    COLUMNS,
    NEWER,
    SORTS,
    instances_of,
    load_words,
    model_rows,
    newer_count,
    ordered,
    update_words,
)
from lmx_tui.widgets.models.welcome import WelcomePane


class ModelsScreen(Page):
    """The Models screen."""

    BINDINGS = keys.MODELS
    AUTO_FOCUS = "#models-table"
    mode = "models"

    def __init__(self, choices: Choices) -> None:
        super().__init__()
        self._query = ""
        self._sort = choices.models_sort if choices.models_sort in SORTS else "used"
        self._reverse = choices.models_reverse
        self._plans = ModelPlans(self, self._redraw)
        self._outdated = False
        """Whether the selected model has a newer version."""
        self._first_run = FirstRun(self)

    def compose_body(self) -> ComposeResult:
        yield FilterInput(placeholder=f"filter: {HELP}", id="filter", compact=True)
        with Horizontal(id="models-row"):
            with Vertical(id="models-column"):
                with Pane("Models", id="models", classes="live"):
                    yield Table(COLUMNS, id="models-table")
                yield WelcomePane()
                yield DownloadsPane()
            yield ModelDetail()

    @on(events.Mount)
    def _ready(self) -> None:
        self.query_one("#filter", Input).display = False
        self.query_one(Table).set_empty_text("finding the daemon, or starting one ...")

    def show(self, snapshot: Snapshot) -> None:
        query = query_of(self._query)
        self._plans.forget_old(snapshot)
        if query.fits:
            self._plans.ask_all(model.id for model in snapshot.models if not model.problem)
        models = ordered(snapshot, query, self._sort, self._reverse, self._plans.known)
        arrow = "▲" if self._reverse != (self._sort == "name") else "▼"
        table = self.query_one(Table)
        rows = model_rows(snapshot, models, self.app.theme_variables)
        table.show(rows, sorted_by=self._sort, mark=arrow)
        nothing = "asking which models fit ..." if self._plans.asking else "nothing matches; esc clears the filter"
        table.set_empty_text(nothing if self._query else "no models yet; p pulls one")
        total = len(snapshot.models)
        shown = f"{len(models)} of {total}" if self._query else str(total)
        found = f"filter: {self._query} · " if self._query else ""
        newer = newer_count(snapshot)
        badge = f" · {NEWER} {newer} newer" if newer else ""
        only_guide = all(model.source == "built-in" for model in snapshot.models)
        note = "p shows models that fit this machine" if only_guide else f"{found}sort: {SORTS[self._sort]} {arrow}"
        self.query_one("#models", Pane).titled(f"Models  {shown}{badge}", note)
        self.query_one(DownloadsPane).show(snapshot.downloads)
        self._first_run.show(snapshot, bool(snapshot.models) and only_guide)
        self._show_detail()

    def action_welcome(self, number: int) -> None:
        """Pull a choice of the welcome, and open a chat once it is here."""
        self._first_run.pull(number)

    @on(DataTable.RowHighlighted)
    def _show_detail(self) -> None:
        if self.snapshot is None:
            return
        model, detail = self._selected(), self.query_one(ModelDetail)
        if detail.card is not None and (model is None or not detail.display):
            self.action_close_card()
            return
        verdict = self._plans.known.get(model.id) if model is not None else None
        detail.show(self.snapshot, model, verdict)
        if model is not None and verdict is None and not model.problem:
            self._plans.ask_at_rest(model.id)
        outdated = model is not None and model.newer is not None
        if outdated != self._outdated:
            self._outdated = outdated
            self.refresh_bindings()

    def _selected(self) -> Model | None:
        key = self.query_one(Table).selected
        models = self.snapshot.models if self.snapshot else ()
        return next((model for model in models if model.id == key), None)

    # ---- filter and sort ----

    def action_filter(self) -> None:
        self.query_one("#filter", FilterInput).open()

    def action_clear(self) -> None:
        if self.query_one(ModelDetail).card is not None:
            self.action_close_card()
            return
        field = self.query_one("#filter", Input)
        field.value = ""
        field.display = False
        self.query_one(Table).focus()

    @on(Input.Changed, "#filter")
    def _filter_changed(self, event: Input.Changed) -> None:
        self._query = event.value.strip()
        self._redraw()

    @on(Input.Submitted, "#filter")
    def _filter_done(self, event: Input.Submitted) -> None:
        self.query_one("#filter", Input).display = bool(self._query)
        self.query_one(Table).focus()

    def action_sort(self) -> None:
        options = [(key, f"{words} (again: reverse)" if key == self._sort else words) for key, words in SORTS.items()]
        self.app.push_screen(Pick("Sort by", options, self._sort), self._sort_by)

    @on(DataTable.HeaderSelected)
    def _header(self, event: DataTable.HeaderSelected) -> None:
        key = event.column_key.value
        if key in SORTS:
            self._sort_by(key)

    def _sort_by(self, key: str | None) -> None:
        if key is None:
            return
        self._reverse = not self._reverse if key == self._sort else False
        self._sort = key
        self.post_message(ChoiceMade({"models_sort": self._sort, "models_reverse": self._reverse}))
        self._redraw()

    def _redraw(self) -> None:
        if self.snapshot is not None:
            self.show(self.snapshot)

    # ---- verbs ----

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "update" and not self._outdated:
            return False
        if action.startswith("welcome"):
            return self._first_run.possible(action, parameters)
        if action == "clear":
            return bool(self._query or self.query_one("#filter").display or self.query_one(ModelDetail).card)
        return super().check_action(action, parameters)

    def action_load(self) -> None:
        """Open the sheet of a load, or a notice if the model is in memory."""
        model = self._usable()
        if model is None or self.snapshot is None:
            return
        instance = instances_of(self.snapshot).get(model.id)
        if instance is not None and instance.state != "failed":
            words = f"{short_name(model.id)} is {load_words(instance)}"
            self.post_message(Notified(words, "c opens a chat with it, x unloads it"))
            return
        self.post_message(LoadSheetRequested(model))

    def action_chat(self) -> None:
        model = self._usable()
        if model is not None:
            self.post_message(ChatRequested(model.id))

    def _usable(self) -> Model | None:
        """Return the selected model. For one that is unusable, post a notice about its problem and return None."""
        model = self._selected()
        if model is None or not model.problem:
            return model
        self.post_message(Notified(f"{model.id}: {model.problem}", severity="error"))
        return None

    def action_unload(self) -> None:
        model = self._selected()
        instance = instances_of(self.snapshot).get(model.id) if self.snapshot and model else None
        if instance is None or model is None:
            self.post_message(Notified("this model is not loaded"))
            return
        verbs.ask_unload(self, UnloadRequested(instance.id, model.id), instance.running + instance.waiting)

    def action_pull(self) -> None:
        def pull(request: PullRequested | None) -> None:
            if request is not None:
                self.post_message(request)

        self.app.push_screen(HubDialog(), pull)

    def action_info(self) -> None:
        """Show the details in a dialog, for terminals without room for the pane."""
        model = self._selected()
        if model is None or self.snapshot is None:
            return
        width = min(100, self.app.size.width - PADDING)
        words = self.query_one(ModelDetail).words(self.snapshot, model, self._plans.known.get(model.id), width)
        self.app.push_screen(verbs.ModelDialog(model.id, words))

    def action_card(self) -> None:
        """Show the model card in the pane, or in a dialog on narrow terminals. A second call closes the pane's card."""
        model, detail = self._selected(), self.query_one(ModelDetail)
        if detail.card is not None:
            self.action_close_card()
        elif model is not None and not detail.display:
            self.app.push_screen(verbs.CardDialog(CardRequest(id=model.id)))
        elif model is not None:
            self.set_class(True, "-card")
            detail.open_card(model)
            self._show_detail()

    def action_close_card(self) -> None:
        self.set_class(False, "-card")
        self.query_one(ModelDetail).close_card()
        self.query_one(Table).focus()
        self._show_detail()

    def action_delete(self) -> None:
        model = self._selected()
        if model is not None:
            verbs.delete(self, model)

    def action_restore(self) -> None:
        verbs.restore(self)

    def action_verify(self) -> None:
        model = self._selected()
        if model is not None:
            verbs.verify(self, model)

    def action_update(self) -> None:
        model = self._selected()
        if self.snapshot is None or model is None:
            return
        question = f"Update {short_name(model.id)}?"
        detail = update_words(model, instances_of(self.snapshot).get(model.id))
        verbs.ask_first(self, Confirm(question, detail, "Update", "U"), UpdateRequested(model.id))

    def action_copy(self) -> None:
        model = self._selected()
        if model is not None:
            self.post_message(CopyRequested(model.id, "model id"))

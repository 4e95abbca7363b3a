"""ModelsScreen: the models on disk and in memory. Draws snapshots, and posts requests to load, unload and pull."""

from collections.abc import Callable

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import DataTable, Input

from lmx_daemon.contract.admin.snapshot import Snapshot
from lmx_daemon.contract.models import Model
from lmx_tui import keys
from lmx_tui.choices import Choices
from lmx_tui.formatting import short_name
from lmx_tui.messages import (
    ChatRequested,
    ChoiceMade,
    CopyRequested,
    LoadRequested,
    Notified,
    PullRequested,
    UnloadRequested,
    UpdateRequested,
)
from lmx_tui.screens.dialogs import AskText, Confirm, Pick
from lmx_tui.screens.page import Page
from lmx_tui.widgets.frame.filter_input import FilterInput
from lmx_tui.widgets.frame.pane import Pane
from lmx_tui.widgets.frame.table import Table
from lmx_tui.widgets.models.detail import ModelDetail
from lmx_tui.widgets.models.downloads import DownloadsPane
from lmx_tui.widgets.models.model_rows import (
    COLUMNS,
    NEWER,
    SORTS,
    instances_of,
    model_rows,
    newer_count,
    ordered,
    update_words,
)


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
        self._outdated = False
        """Whether the selected model has a newer version."""

    def compose_body(self) -> ComposeResult:
        yield FilterInput(placeholder="filter: words of the name, 4bit, qwen3 ...", id="filter", compact=True)
        with Horizontal(id="models-row"):
            with Vertical(id="models-column"):
                with Pane("Models", id="models", classes="live"):
                    yield Table(COLUMNS, id="models-table")
                yield DownloadsPane()
            yield ModelDetail()

    @on(events.Mount)
    def _ready(self) -> None:
        self.query_one("#filter", Input).display = False
        self.query_one(Table).set_empty_text("finding the daemon, or starting one ...")

    def show(self, snapshot: Snapshot) -> None:
        models = ordered(snapshot, self._query, self._sort, self._reverse)
        arrow = "▲" if self._reverse != (self._sort == "name") else "▼"
        table = self.query_one(Table)
        rows = model_rows(snapshot, models, self.app.theme_variables)
        table.show(rows, sorted_by=self._sort, mark=arrow)
        table.set_empty_text("nothing matches; esc clears the filter" if self._query else "no models yet; p pulls one")
        total = len(snapshot.models)
        shown = f"{len(models)} of {total}" if self._query else str(total)
        found = f"filter: {self._query} · " if self._query else ""
        newer = newer_count(snapshot)
        badge = f" · {NEWER} {newer} newer" if newer else ""
        self.query_one("#models", Pane).titled(f"Models  {shown}{badge}", f"{found}sort: {SORTS[self._sort]} {arrow}")
        self.query_one(DownloadsPane).show(snapshot.downloads)
        self._show_detail()

    @on(DataTable.RowHighlighted)
    def _show_detail(self) -> None:
        if self.snapshot is None:
            return
        model = self._selected()
        self.query_one(ModelDetail).show(self.snapshot, model)
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
        if action == "clear" and not (self._query or self.query_one("#filter").display):
            return False
        return super().check_action(action, parameters)

    def action_load(self) -> None:
        self._use(LoadRequested)

    def action_chat(self) -> None:
        self._use(ChatRequested)

    def _use(self, request: Callable[[str], LoadRequested | ChatRequested]) -> None:
        """Post a request that needs a usable model, or a notice about the problem of the selected one."""
        model = self._selected()
        if model is not None and model.problem:
            self.post_message(Notified(f"{model.id}: {model.problem}", severity="error"))
        elif model is not None:
            self.post_message(request(model.id))

    def action_unload(self) -> None:
        model = self._selected()
        instance = instances_of(self.snapshot).get(model.id) if self.snapshot and model else None
        if instance is None or model is None:
            self.post_message(Notified("this model is not loaded"))
            return
        ask_unload(self, UnloadRequested(instance.id, model.id), instance.running + instance.waiting)

    def action_pull(self) -> None:
        def pull(repo: str | None) -> None:
            if repo:
                self.post_message(PullRequested(repo))

        words = "A repository of the Hugging Face Hub with an MLX model."
        self.app.push_screen(AskText("Pull a model", words, "mlx-community/Qwen3-0.6B-4bit"), pull)

    def action_update(self) -> None:
        model = self._selected()
        if self.snapshot is None or model is None:
            return
        question = f"Update {short_name(model.id)}?"
        detail = update_words(model, instances_of(self.snapshot).get(model.id))
        ask_first(self, Confirm(question, detail, "Update", "U"), UpdateRequested(model.id))

    def action_copy(self) -> None:
        model = self._selected()
        if model is not None:
            self.post_message(CopyRequested(model.id, "model id"))


def ask_unload(screen: Page, request: UnloadRequested, busy: int) -> None:
    """Post `request` at once if the model is idle; ask first if it has requests."""
    if not busy:
        screen.post_message(request)
        return
    detail = f"Its {busy} request{'s' if busy > 1 else ''} finish{'' if busy > 1 else 'es'} first, then it is unloaded."
    ask_first(screen, Confirm(f"Unload {short_name(request.model)}?", detail, "Unload", "U"), request)


def ask_first(screen: Page, question: Confirm, request: Message) -> None:
    """Post `request` after the question was answered with yes."""

    def answered(sure: bool | None) -> None:
        if sure:
            screen.post_message(request)

    screen.app.push_screen(question, answered)

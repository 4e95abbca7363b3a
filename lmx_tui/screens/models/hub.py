"""HubDialog: models of the Hub as the user types, first those that suit this machine. Enter opens the sheet of one."""

from dataclasses import replace

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.timer import Timer
from textual.widgets import DataTable, Input, Static

from lmx_daemon.contract.admin.library.hub import CardRequest, Offer, Offers, RecommendRequest, SearchRequest
from lmx_daemon.contract.errors import ErrorBody
from lmx_tui.formatting import clean, with_hint
from lmx_tui.messages import PullRequested, QueryRequested
from lmx_tui.screens.dialogs.questions import Dialog
from lmx_tui.screens.models.model_verbs import CardDialog
from lmx_tui.screens.models.pull_sheet import PullSheet
from lmx_tui.widgets.frame.table import Table
from lmx_tui.widgets.models.model_query import HELP, ModelQuery, facts_of_offer, query_of
from lmx_tui.widgets.models.offer_rows import OFFER_COLUMNS, offer_note, offer_rows

TYPING_SECONDS = 0.3
"""Time without a key after which the Hub is asked."""
LIMIT, MOST = 40, 100
"""Number of models asked for, and the number with a bound on the size, which is checked here."""


class HubDialog(Dialog[PullRequested | None]):
    """A search that returns a pull."""

    BINDINGS = [
        Binding("escape", "dismiss(None)", "Cancel", id="hub.cancel"),
        Binding("enter", "open", "Choose", show=False, id="hub.open"),
        Binding("down", "list", "To the list", show=False, id="hub.list"),
        Binding("m", "card", "Model card", show=False, id="hub.card"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._offers: dict[str, Offer] = {}
        self._query = ModelQuery()
        """Facts that the offers must have."""
        self._timer: Timer | None = None

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide", id="hub") as box:
            box.border_title = "Pull a model"
            box.border_subtitle = "enter choose · down to the list · m card · esc cancel"
            yield Input(placeholder=f"{HELP}, or the name of a repository", compact=True)
            yield Table(OFFER_COLUMNS, id="offers")
            yield Static("", id="offer-note", markup=False)

    def on_mount(self) -> None:
        field = self.query_one(Input)
        field.cursor_blink = False
        field.focus()
        self.query_one(Table).set_empty_text("asking the Hub for models that fit ...")
        self._ask("")

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        if self._timer is not None:
            self._timer.stop()
        words = event.value.strip()
        self._timer = self.set_timer(TYPING_SECONDS, lambda: self._ask(words))

    def _ask(self, words: str) -> None:
        query = query_of(words)
        self._query = replace(query, words=())  # the Hub searches for the words
        search = SearchRequest(
            words=" ".join(query.words),
            tools="tools" in query.abilities,
            vision="vision" in query.abilities,
            fits=query.fits,
            limit=MOST if query.bounds else LIMIT,
        )
        self.post_message(
            QueryRequested(
                "hub",
                lambda client: client.search(search) if words else client.recommend(RecommendRequest()),
                self._came,
                self._failed,
            )
        )

    def _came(self, answer: Offers) -> None:
        if not self.query(Table):  # the dialog is closing
            return
        offers = [offer for offer in answer.offers if self._query.matches(facts_of_offer(offer))]
        self._offers = {offer.id: offer for offer in offers}
        table = self.query_one(Table)
        table.set_empty_text("the Hub has no such model for lmx")
        table.show(offer_rows(offers, self.app.theme_variables))
        title = "Pull a model" if self.query_one(Input).value else "Pull a model · good choices for this machine"
        self.query_one("#hub").border_title = Content(title)
        self._note(answer.note or "")

    def _failed(self, error: ErrorBody) -> None:
        if self.query(Table):
            self._note(with_hint(error))

    @on(DataTable.RowHighlighted)
    def _selected(self) -> None:
        offer = self._offers.get(self.query_one(Table).selected or "")
        if offer is not None:
            self._note(offer_note(offer))

    def _note(self, words: str) -> None:
        self.query_one("#offer-note", Static).update(Content(clean(words)))

    def action_list(self) -> None:
        self.query_one(Table).focus()

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        """Open the sheet of the repository that is named; words lead to the list."""
        text = event.value.strip()
        if text.count("/") == 1 and " " not in text:
            self._open(text)
        else:
            self.query_one(Table).focus()

    @on(DataTable.RowSelected)
    def _chosen(self) -> None:
        self._open(self.query_one(Table).selected)

    def action_open(self) -> None:
        self._open(self.query_one(Table).selected)

    def action_card(self) -> None:
        """Show the model card of the selected repository."""
        if repo := self.query_one(Table).selected:
            self.app.push_screen(CardDialog(CardRequest(id=repo, hub=True)))

    def _open(self, repo: str | None) -> None:
        if repo and self.is_active:
            self.app.push_screen(PullSheet(self._offers.get(repo) or Offer(id=repo)), self._sheet_closed)

    def _sheet_closed(self, pull: PullRequested | None) -> None:
        if pull is not None:
            self.reply(pull)

"""PullSheet: the quantizations of a model on the Hub, with their sizes and whether they fit. Enter pulls one."""

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import DataTable, Static

from lmx_daemon.contract.admin.library.hub import CardRequest, Offer, Offers, SearchRequest
from lmx_daemon.contract.errors import ErrorBody
from lmx_tui.formatting import clean, short_name, with_hint
from lmx_tui.messages import CopyRequested, PullRequested, QueryRequested
from lmx_tui.screens.dialogs.questions import Dialog
from lmx_tui.screens.models.model_verbs import CardDialog
from lmx_tui.widgets.frame.table import Table
from lmx_tui.widgets.models.offer_rows import SIBLING_COLUMNS, base_name, offer_note, offer_rows, siblings

LIMIT = 100


class PullSheet(Dialog[PullRequested | None]):
    """The sheet of one repository. It returns the pull, or None."""

    BINDINGS = [
        Binding("escape", "dismiss(None)", "Back", id="pull_sheet.cancel"),
        Binding("enter", "pull(False)", "Pull", show=False, id="pull_sheet.pull"),
        Binding("c", "pull(True)", "Pull and chat", show=False, id="pull_sheet.chat"),
        Binding("y", "copy", "Copy the command", show=False, id="pull_sheet.copy"),
        Binding("m", "card", "Model card", show=False, id="pull_sheet.card"),
    ]

    def __init__(self, offer: Offer) -> None:
        super().__init__()
        self._offer = offer
        self._offers = {offer.id: offer}

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide", id="hub") as box:
            box.border_title = Content(f"Pull {short_name(self._offer.id)}")
            box.border_subtitle = "enter pull · c pull and chat · m card · y copy command · esc back"
            yield Table(SIBLING_COLUMNS, id="siblings")
            yield Static("", id="offer-note", markup=False)

    def on_mount(self) -> None:
        self.query_one(Table).focus()
        self._show([self._offer])
        self._note("asking the Hub for other quantizations ...")
        search = SearchRequest(words=base_name(self._offer.id), limit=LIMIT)
        self.post_message(QueryRequested("siblings", lambda client: client.search(search), self._came, self._failed))

    def _show(self, offers: list[Offer]) -> None:
        self._offers = {offer.id: offer for offer in offers}
        self.query_one(Table).show(offer_rows(offers, self.app.theme_variables))

    def _came(self, answer: Offers) -> None:
        if not self.query(Table):  # the sheet is closing
            return
        self._show(siblings(self._offer, answer.offers))
        self.query_one(Table).select(self._offer.id)
        self._note_selected()

    def _failed(self, error: ErrorBody) -> None:
        if self.query(Table):
            self._note(with_hint(error))

    @on(DataTable.RowHighlighted)
    def _note_selected(self) -> None:
        offer = self._offers.get(self.query_one(Table).selected or "")
        if offer is not None:
            self._note(f"lmx pull {offer.id}\n{offer_note(offer)}")

    def _note(self, words: str) -> None:
        self.query_one("#offer-note", Static).update(Content(clean(words)))

    def action_pull(self, chat: bool) -> None:
        self.reply(PullRequested(self._chosen(), chat=chat))

    def action_card(self) -> None:
        """Show the model card of the selected repository."""
        self.app.push_screen(CardDialog(CardRequest(id=self._chosen().partition("@")[0], hub=True)))

    def action_copy(self) -> None:
        self.post_message(CopyRequested(f"lmx pull {self._chosen()}", "command"))

    def _chosen(self) -> str:
        return self.query_one(Table).selected or self._offer.id

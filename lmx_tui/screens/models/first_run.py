"""FirstRun: the welcome of the Models screen while only the built-in model is on the disk."""

from lmx_daemon.contract.admin.library.hub import Offers, RecommendRequest
from lmx_daemon.contract.admin.snapshot import Snapshot
from lmx_tui.messages import PullRequested, QueryRequested
from lmx_tui.screens.page import Page
from lmx_tui.widgets.models.welcome import WelcomePane

SHOWN = "-welcome"
"""Class of the screen while the welcome is shown."""


class FirstRun:
    """The choices of the welcome. They are asked for once, and without a connection to the Hub."""

    def __init__(self, screen: Page) -> None:
        self._screen = screen
        self._asked = False

    @property
    def _pane(self) -> WelcomePane:
        return self._screen.query_one(WelcomePane)

    def show(self, snapshot: Snapshot, only_guide: bool) -> None:
        """Show the welcome if `only_guide`, else hide it."""
        if only_guide and not self._asked:
            self._asked = True
            request = RecommendRequest(every=True, ask_hub=False)
            ask = QueryRequested("welcome", lambda client: client.recommend(request), self._came, lambda error: None)
            self._screen.post_message(ask)  # after a failure, the list of models stays as it is
        shown = only_guide and self._pane.offers is not None
        if shown:
            self._pane.show(snapshot.downloads)
        if shown != self._screen.has_class(SHOWN):
            self._screen.set_class(shown, SHOWN)
            self._screen.refresh_bindings()

    def _came(self, offers: Offers) -> None:
        self._pane.offers = offers
        if self._screen.snapshot is not None:
            self._screen.show(self._screen.snapshot)

    def pull(self, number: int) -> None:
        """Pull a choice, and open a chat once it is here."""
        self._screen.post_message(PullRequested(self._pane.choices[number].id, chat=True))

    def possible(self, action: str, parameters: tuple[object, ...]) -> bool:
        """Return whether the choice exists that `action` names: "welcome" with its parameters, or "welcome(0)"."""
        count = len(self._pane.choices) if self._screen.has_class(SHOWN) else 0
        return any(parameters == (number,) or action == f"welcome({number})" for number in range(count))

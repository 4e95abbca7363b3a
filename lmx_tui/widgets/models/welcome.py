"""WelcomePane: a few models that fit this machine, for a disk that holds only the built-in one.

The choices come from the daemon's own list. Nothing asks the Hub before the user pulls one.
"""

from collections.abc import Sequence

from rich.style import Style
from rich.text import Text
from textual.app import ComposeResult

from lmx_daemon.contract.admin.library import Offer
from lmx_daemon.contract.admin.pulls import DOWNLOAD_ENDS, Download
from lmx_daemon.contract.units import size
from lmx_tui.formatting import one_line, parameters, short_name
from lmx_tui.widgets.frame.pane import Pane
from lmx_tui.widgets.frame.static_text import StaticText
from lmx_tui.widgets.models.offer_rows import size_words

MOST = 4
"""Upper bound on the choices; each has a number key."""


class WelcomePane(Pane):
    """The choices of a first run, each pulled by its number."""

    DEFAULT_CSS = """
    WelcomePane { overflow-y: auto; scrollbar-size-vertical: 1; display: none; }
    WelcomePane > Static { height: auto; }
    """
    can_focus = False

    def __init__(self) -> None:
        super().__init__("Welcome to lmx", id="welcome", classes="live")
        self._text = StaticText()
        self.offers: Sequence[Offer] | None = None
        """The daemon's choices; None until they have come."""

    def compose(self) -> ComposeResult:
        yield self._text

    @property
    def choices(self) -> tuple[Offer, ...]:
        """The first that fit now, the most capable first."""
        return tuple(offer for offer in self.offers or () if offer.fit == "yes")[:MOST]

    def show(self, downloads: Sequence[Download], cap: int) -> None:
        """Draw the choices. `cap` is the memory for models."""
        self.titled("Welcome to lmx", "p searches the Hub")
        self._text.show(self._words({one.repo for one in downloads if one.state not in DOWNLOAD_ENDS}, cap))

    def _words(self, arriving: set[str], cap: int) -> Text:
        text = Text("Only the built-in guide is on this disk. ")
        choices = self.choices
        if not choices:
            text.append(f"None of lmx's choices fits in {size(cap)}; p searches the Hub for smaller ones.")
            return text
        text.append(f"These fit the {size(cap)} for models on this machine. ")
        text.append("A number", self._style("accent")).append(" pulls one and opens a chat with it.\n\n")
        for number, offer in enumerate(choices, 1):
            purpose, _, reason = one_line(offer.reason or "").partition(": ")
            facts = f"{parameters(offer.parameters)} · {size_words(offer)} · {purpose}"
            text.append(f"{number}  ", self._style("accent")).append(short_name(offer.id), "bold")
            text.append("  downloading" if offer.id in arriving else "", self._style("secondary"))
            text.append(f"  {facts}\n   {reason}\n", self._style("muted"))
        if any(offer.approximate for offer in choices):
            text.append("\n~ sizes are approximate: lmx has not asked the Hub", self._style("muted"))
        return text

    def _style(self, name: str) -> Style:
        return Style.parse(self.app.theme_variables[name])

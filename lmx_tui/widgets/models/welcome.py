"""WelcomePane: a few models that fit this machine, for a disk that holds only the built-in one.

The choices come from the daemon's own list. Nothing asks the Hub before the user pulls one.
"""

from collections.abc import Sequence
from textwrap import wrap

from rich.style import Style
from rich.text import Text
from textual.app import ComposeResult

from lmx_daemon.contract.admin.library.hub import Offer, Offers
from lmx_daemon.contract.admin.library.pulls import DOWNLOAD_ENDS, Download
from lmx_daemon.contract.units import size
from lmx_tui.formatting import one_line, parameters, short_name
from lmx_tui.widgets.frame.pane import Pane
from lmx_tui.widgets.frame.static_text import StaticText
from lmx_tui.widgets.models.offer_rows import size_words

SHARE = 0.9
"""Share of the memory for models that a choice may need with a context of 8,192 tokens; longer ones need more."""
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
        self.offers: Offers | None = None
        """The daemon's choices; None until they have come."""
        self._arriving: set[str] = set()

    def compose(self) -> ComposeResult:
        yield self._text

    @property
    def choices(self) -> tuple[Offer, ...]:
        """The first that leave room on this machine, the most capable first; those that fit now before others."""
        if self.offers is None:
            return ()
        room = self.offers.cap * SHARE
        return tuple(offer for offer in self.offers.offers if offer.memory and offer.memory <= room)[:MOST]

    def show(self, downloads: Sequence[Download]) -> None:
        """Draw the choices."""
        self.titled("Welcome to lmx", "p searches the Hub")
        self._arriving = {one.repo for one in downloads if one.state not in DOWNLOAD_ENDS}
        self._text.show(self._words())

    def on_resize(self) -> None:
        """Wrap the lines again. The pane has no width before it is shown."""
        self._text.show(self._words())

    def _words(self) -> Text:
        text, cap = Text("Only the built-in guide is on this disk. "), self.offers.cap if self.offers else 0
        choices, width = self.choices, max(20, self.content_size.width)
        if not choices:
            text.append(f"None of lmx's choices fits in {size(cap)}; p searches the Hub for smaller ones.")
            return text
        text.append(f"These fit the {size(cap)} for models on this machine. ")
        text.append("A number", self._style("accent")).append(" pulls one and opens a chat with it.\n\n")
        for number, offer in enumerate(choices, 1):
            facts = f"  {parameters(offer.parameters)} · {size_words(offer)}\n"
            reason = wrap(one_line(offer.reason or ""), width, initial_indent="   ", subsequent_indent="   ")
            text.append(f"{number}  ", self._style("accent")).append(short_name(offer.id), "bold")
            text.append("  downloading" if offer.id in self._arriving else "", self._style("secondary"))
            text.append(facts, self._style("muted")).append("\n".join(reason) + "\n", self._style("muted"))
        if any(offer.approximate for offer in choices):
            text.append("\n~ sizes are approximate: lmx has not asked the Hub", self._style("muted"))
        return text

    def _style(self, name: str) -> Style:
        return Style.parse(self.app.theme_variables[name])

"""Models on the Hub as rows of a table. Pure."""

from collections.abc import Mapping, Sequence

from rich.text import Text

from lmx_daemon.contract.admin.library import Offer
from lmx_daemon.contract.units import UNKNOWN, size
from lmx_tui.formatting import one_line
from lmx_tui.widgets.frame.table import Column

OFFER_COLUMNS = (
    Column("name", "model", 24, flexible=True, keep=9, middle=True),
    Column("size", "size", 8, right=True, keep=8),
    Column("memory", "memory", 8, right=True, keep=5),
    Column("fit", "fits", 10, keep=7),
    Column("abilities", "can", 14, keep=4),
)
FITS = {
    "yes": ("✓ yes", "success"),
    "after unloading": ("✓ unload", "warning"),
    "no": ("! no", "error"),
    "unknown": (UNKNOWN, "muted"),
}


def offer_rows(offers: Sequence[Offer], colors: Mapping[str, str]) -> dict[str, dict[str, Text]]:
    return {offer.id: _row(offer, colors) for offer in offers}


def _row(offer: Offer, colors: Mapping[str, str]) -> dict[str, Text]:
    words, color = FITS[offer.fit]
    can = [name for name in ("tools", "thinking", "vision") if getattr(offer, name)]
    marks = (("here", "success"), ("gated", "warning"))
    name = Text(one_line(offer.id))
    for mark, shade in marks:
        if getattr(offer, mark):
            name.append(f" {mark}", colors[shade])
    return {
        "name": name,
        "size": Text(size(offer.size)),
        "memory": Text(size(offer.memory)),
        "fit": Text(words, colors[color]),
        "abilities": Text(" ".join(can), colors["muted"]),
    }


def offer_note(offer: Offer) -> str:
    """Return what the columns do not have: the reason of a recommendation, the licence, the downloads."""
    parts = (
        offer.reason and one_line(offer.reason),
        offer.license and one_line(offer.license),
        f"{offer.downloads:,} downloads" if offer.downloads else "",
    )
    return " · ".join(filter(None, parts))

"""Models on the Hub as rows of a table. Pure."""

import re
from collections.abc import Mapping, Sequence

from rich.text import Text

from lmx_daemon.contract.admin.library.hub import Offer
from lmx_daemon.contract.units import UNKNOWN, size
from lmx_tui.formatting import one_line
from lmx_tui.widgets.frame.table import Column

OFFER_COLUMNS = (
    Column("name", "model", 24, flexible=True, keep=9, middle=True),
    Column("size", "size", 8, right=True, keep=8),
    Column("memory", "memory", 8, right=True, keep=5),
    Column("fit", "fits", 10, keep=7),
    Column("abilities", "abilities", 14, keep=4),
)
SIBLING_COLUMNS = (OFFER_COLUMNS[0], Column("quant", "quant", 8, keep=6), *OFFER_COLUMNS[1:])
QUANTIZATION = re.compile(
    r"[-_](q\d|\d[-_]?bits?|b?fp?(16|32)|int[48]|(mx|nv)?fp[48]|dwq\w*|gs?\d+|mlx)$", re.IGNORECASE
)
"""Last part of a repository's name that states how its weights are stored."""
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
        "quant": Text(one_line(offer.quantization or UNKNOWN)),
        "size": Text(size_words(offer)),
        "memory": Text(size(offer.memory)),
        "fit": Text(words, colors[color]),
        "abilities": Text(" ".join(can), colors["muted"]),
    }


def size_words(offer: Offer) -> str:
    """Return the size of the weights, with "~" if it is approximate."""
    return f"~{size(offer.size)}" if offer.approximate else size(offer.size)


def offer_note(offer: Offer) -> str:
    """Return the details that the columns do not show: the reason of a recommendation, the licence, the downloads."""
    parts = (
        offer.reason and one_line(offer.reason),
        offer.license and one_line(offer.license),
        f"{offer.downloads:,} downloads" if offer.downloads else "",
    )
    return " · ".join(filter(None, parts))


def base_name(repo: str) -> str:
    """Return the name of a repository without its owner and the quantization of its weights."""
    name = repo.partition("@")[0].rpartition("/")[2]
    while (shorter := QUANTIZATION.sub("", name)) != name and shorter:
        name = shorter
    return name


def siblings(offer: Offer, found: Sequence[Offer]) -> list[Offer]:
    """Return the repositories of the same base model, the smallest first, `offer` among them."""
    base = base_name(offer.id).lower()
    same = {one.id: one for one in (offer, *found) if one.id == offer.id or base_name(one.id).lower() == base}
    return sorted(same.values(), key=lambda one: (one.size is None, one.size or 0, one.id))

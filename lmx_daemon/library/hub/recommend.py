"""`lmx recommend`: first choices that fit this machine, from recommended.toml, each with its reason.

The Hub corrects the figures where it can be asked, and takes away what is no longer there.
"""

import tomllib
from pathlib import Path
from typing import Any

import msgspec

from lmx_daemon.contract.errors import LmxError, NotFoundError
from lmx_daemon.contract.library import Offer, Offers
from lmx_daemon.library.hub.search import HubModel, Search

DATA = Path(__file__).parent / "recommended.toml"
RANK = {"yes": 0, "after unloading": 1, "unknown": 2, "no": 3}


class Recommendation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of the file."""

    id: str
    reason: str
    purpose: str = msgspec.field(name="for")
    size: int = 0
    config: dict[str, Any] = {}


def choices() -> list[Recommendation]:
    return msgspec.convert(tomllib.loads(DATA.read_text())["model"], list[Recommendation])


def recommend(search: Search, context: int | None, every: bool) -> Offers:
    """Those that fit, the most able first; with `every` the others too. Blocking; never fails for want of a Hub."""
    listed = {choice.id: choice for choice in choices()}

    def choose(found: list[HubModel]) -> list[Offer]:
        offers = [search.offer(one, context, _reason(listed[one.id])) for one in found if one.id in listed]
        offers.reverse()
        offers.sort(key=lambda offer: RANK[offer.fit])
        return [offer for offer in offers if every or offer.fit != "no"]

    def ask() -> list[HubModel]:
        found = search.named(list(listed))
        if not found:
            raise NotFoundError("the Hub has none of lmx's choices")
        return found

    try:
        return search.answer(("recommend", search.endpoint, sorted(listed)), ask, choose)
    except LmxError as error:
        written = [HubModel(id=one.id, config=one.config, storage=one.size) for one in listed.values()]
        return Offers(
            offers=tuple(choose(written)), from_cache=True, note=f"{error.message}; sizes are lmx's own", cap=search.cap
        )


def _reason(choice: Recommendation) -> str:
    return f"{choice.purpose}: {choice.reason}"

"""`lmx recommend`: models from recommended.toml that fit this machine, each with a reason.

If the Hub is asked and can be reached, its figures replace those of the file, and models that it no longer has are left
out. Figures of the file are marked as approximate.
"""

import tomllib
from pathlib import Path
from typing import Any

import msgspec

from lmx_daemon.contract.admin.library.hub import Offer, Offers
from lmx_daemon.contract.errors import LmxError, NotFoundError
from lmx_daemon.library.hub.hub_models import HubModel
from lmx_daemon.library.hub.search import Search

DATA = Path(__file__).parent / "recommended.toml"
FIT_ORDER = {"yes": 0, "after unloading": 1, "unknown": 2, "no": 3}


class Recommendation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Entry of recommended.toml."""

    id: str
    reason: str
    purpose: str = msgspec.field(name="for")
    parameters: int
    bits: float
    """Mean number of bits for each weight, with scales and biases."""
    config: dict[str, Any] = {}

    @property
    def size(self) -> int:
        """Approximate bytes of the weights, in whole tens of megabytes."""
        return round(self.parameters * self.bits / 8 / 1e7) * 10_000_000


def recommendations() -> list[Recommendation]:
    """Return the entries of recommended.toml, the smallest model first."""
    return msgspec.convert(tomllib.loads(DATA.read_text())["model"], list[Recommendation])


def recommend(search: Search, context: int | None, every: bool, ask_hub: bool = True) -> Offers:
    """Return the models that fit, the most capable first, or all with `every`. Blocking. Works without a Hub.

    Without `ask_hub` there is no connection to the Hub.
    """
    listed = {choice.id: choice for choice in recommendations()}

    def choose(found: list[HubModel]) -> list[Offer]:
        offers = [search.offer(one, context, _reason(listed[one.id])) for one in found if one.id in listed]
        offers.reverse()
        offers.sort(key=lambda offer: FIT_ORDER[offer.fit])
        return [offer for offer in offers if every or offer.fit != "no"]

    def ask() -> list[HubModel]:
        found = search.named(list(listed))
        if not found:
            raise NotFoundError("the Hub has none of the recommended models")
        return found

    def from_list(note: str) -> Offers:
        written = choose([HubModel(id=one.id, config=one.config, storage=one.size) for one in listed.values()])
        offers = [
            msgspec.structs.replace(one, parameters=listed[one.id].parameters, approximate=True) for one in written
        ]
        return Offers(offers=tuple(offers), from_cache=True, note=note, cap=search.cap)

    if not ask_hub:
        return from_list("sizes are approximate: the Hub was not asked")
    try:
        return search.answer(("recommend", search.endpoint, sorted(listed)), ask, choose)
    except LmxError as error:
        return from_list(f"{error.message}; sizes are from lmx's own list")


def _reason(choice: Recommendation) -> str:
    return f"{choice.purpose}: {choice.reason}"

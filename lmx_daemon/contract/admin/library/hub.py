"""Models on the Hub: search, recommendations, cards and updates."""

from typing import Literal

from lmx_daemon.contract.admin.library.files import Fit
from lmx_daemon.contract.frozen import Frozen


class CardRequest(Frozen, frozen=True):
    """Request for the model card of an installed model, or with `hub` of a repository on the Hub."""

    id: str
    hub: bool = False


class ModelCard(Frozen, frozen=True):
    """Model card: Markdown from the publisher of a model, without its front matter. It is not trusted."""

    id: str
    text: str
    cut: bool = False
    """Whether the card is longer than `text`."""
    asked_at: float | None = None
    """Time of the Hub's response; None for a card from the disk."""
    note: str | None = None
    """Reason why the response is an old one."""


class SearchRequest(Frozen, frozen=True):
    """Search on the Hub."""

    words: str = ""
    author: str | None = None
    tools: bool = False
    vision: bool = False
    embedding: bool = False
    quantization: str | None = None
    fits: bool = False
    sort: Literal["downloads", "likes", "updated", "created", "trending", "size"] = "downloads"
    limit: int = 20
    context_length: int | None = None
    """Context length for the memory plan; None is the smaller of 8,192 and the length of the model."""


class RecommendRequest(Frozen, frozen=True):
    """Request for recommended models. `every` includes models that do not fit."""

    context_length: int | None = None
    every: bool = False
    ask_hub: bool = True
    """Whether the daemon may connect to the Hub; without it, the figures are approximate."""


class Offer(Frozen, frozen=True):
    """Model on the Hub."""

    id: str
    commit: str | None = None
    size: int | None = None
    """Size of the weights."""
    approximate: bool = False
    """Whether size and parameters are those of lmx's own list, because the Hub has not answered."""
    parameters: int | None = None
    quantization: str | None = None
    architecture: str | None = None
    context_length: int | None = None
    license: str | None = None
    downloads: int | None = None
    likes: int | None = None
    updated_at: float | None = None
    gated: bool = False
    tools: bool = False
    thinking: bool = False
    vision: bool = False
    embedding: bool = False
    memory: int | None = None
    """Planned memory with a context of `memory_context` tokens."""
    memory_context: int | None = None
    fit: Fit = "unknown"
    here: bool = False
    reason: str | None = None
    """Reason for the recommendation."""


class Offers(Frozen, frozen=True):
    """Result of a search or a recommendation."""

    offers: tuple[Offer, ...] = ()
    asked_at: float = 0.0
    """Time of the answer of the Hub."""
    from_cache: bool = False
    note: str | None = None
    """Reason why the answer is an old one."""
    cap: int = 0
    """Memory that models may use on this machine."""


class OutdatedRow(Frozen, frozen=True):
    """Installed model and the newest commit on the Hub."""

    id: str
    commit: str
    newer: str | None = None
    """Newest commit; None if the model is up to date or the commit is unknown."""
    error: str | None = None


class Outdated(Frozen, frozen=True):
    """Result of the check for newer commits."""

    rows: tuple[OutdatedRow, ...] = ()
    checked_at: float = 0.0


class UpdateRequest(Frozen, frozen=True):
    """Request to pull the newest commit of a model."""

    id: str

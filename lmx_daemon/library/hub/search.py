"""`lmx search`: MLX models on the Hub, with the memory that they need on this machine. No weights are downloaded.

Responses are cached, and used with their age when the Hub cannot be reached. All methods block.
"""

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import msgspec

from lmx_daemon.contract.admin.library.hub import Offer, Offers, SearchRequest
from lmx_daemon.contract.errors import HubError, LmxError, NotFoundError
from lmx_daemon.library.catalog.describe import context_length, quantization, short_text
from lmx_daemon.library.catalog.fit import MachineCapacity, plan_remote, remote_shape
from lmx_daemon.library.catalog.traits import traits_of
from lmx_daemon.library.hub.hub import NO_HUB, Hub
from lmx_daemon.library.hub.hub_client import HubClient
from lmx_daemon.library.hub.hub_models import HubModel, approximate_parameters, parse_model, trim_config
from lmx_daemon.library.hub.response_cache import ResponseCache

MAX_LIMIT = 100
PARALLEL = 8
"""Number of simultaneous requests."""
SORTS = {"updated": "lastModified", "created": "createdAt", "trending": "trendingScore", "size": "downloads"}
"""The Hub's names of sort orders where they differ."""
KINDS = (None, "text-generation", "image-text-to-text", "any-to-any", "feature-extraction", "sentence-similarity")
"""Pipeline tags of models that lmx may run. Models for speech and pictures are also tagged mlx."""
EMBEDDING_KINDS = ("feature-extraction", "sentence-similarity")
# fmt: off
EXPANDED = [
    "config", "downloads", "gated", "lastModified", "likes", "pipeline_tag", "safetensors", "sha", "tags",
    "usedStorage",
]
# fmt: on
OTHERS = 20
"""Number of models requested beyond the limit, since some are of another kind."""


class Search:
    """Searches on one Hub. `here` are the ids of installed models."""

    def __init__(
        self,
        hub: Hub,
        responses: ResponseCache,
        machine: Callable[[], MachineCapacity],
        here: Collection[str],
    ) -> None:
        self._hub = hub
        self._responses = responses
        self._machine = machine
        self._here = here

    @property
    def endpoint(self) -> str:
        """The Hub's address."""
        return self._hub.endpoint

    @property
    def cap(self) -> int:
        """Bytes that models may use on this machine."""
        return self._machine().cap

    def search(self, request: SearchRequest) -> Offers:
        """Return the matching models. Raises HubError when the Hub cannot be reached and no response is cached."""
        key = ("search", self._hub.endpoint, msgspec.structs.replace(request, fits=False, context_length=None))
        return self.answer(key, lambda: self._ask(request), lambda found: self._chosen(found, request))

    def answer(
        self, key: Any, ask: Callable[[], list[HubModel]], choose: Callable[[list[HubModel]], list[Offer]]
    ) -> Offers:
        """Return the offers that `choose` makes of the Hub's response, or of the cached one when `ask` fails."""
        note = None
        try:
            found = ask()
            asked_at = self._responses.keep(key, found)
        except LmxError as error:
            note = error.message
            kept = self._responses.get(key, list[HubModel])
            if kept is None:
                raise
            asked_at, found = kept
        return Offers(
            offers=tuple(choose(found)),
            asked_at=asked_at,
            from_cache=note is not None,
            note=note,
            cap=self.cap,
        )

    def offer(self, found: HubModel, context: int | None = None, reason: str | None = None) -> Offer:
        """Return a model with the memory that it needs on this machine."""
        machine = self._machine()
        shape = remote_shape(found.config, found.by_type, found.storage)
        needed = plan_remote(shape, machine, context) if shape and found.config else None
        traits = traits_of(found.config, found.template, ())
        return Offer(
            id=found.id,
            commit=found.commit,
            size=shape.weights.bytes if shape else None,
            parameters=approximate_parameters(found),
            quantization=quantization(found.config),
            architecture=short_text(found.config.get("model_type")),
            context_length=context_length(found.config, {}),
            license=next((tag.partition(":")[2] for tag in found.tags if tag.startswith("license:")), None),
            downloads=found.downloads,
            likes=found.likes,
            updated_at=found.updated_at,
            gated=found.gated,
            tools=traits.tools,
            thinking=traits.thinking,
            vision=traits.vision or found.kind == "image-text-to-text",
            embedding=found.kind in EMBEDDING_KINDS,
            memory=needed.bytes if needed else None,
            memory_context=needed.context if needed else None,
            fit=machine.fit(needed.bytes) if needed else "unknown",
            here=found.id in self._here,
            reason=reason,
        )

    def list_models(self, filters: Mapping[str, Any]) -> list[HubModel]:
        """Return the models that the Hub lists, each with its config. Raises HubError."""
        with HubClient(self._hub) as client:
            listed = client.json("/api/models", {"filter": "mlx", "expand": EXPANDED, **filters})
            if not isinstance(listed, list):
                raise HubError(f"{self._hub.endpoint} does not respond like a Hub", hint=NO_HUB)
            found = [one for info in listed[:MAX_LIMIT] if (one := parse_model(info)) is not None]
            return self._with_configs(client, found)

    def named(self, identities: Collection[str]) -> list[HubModel]:
        """Return the models with these ids that exist, each with its config. Raises HubError."""

        def ask(identity: str) -> HubModel | None:
            try:
                return parse_model(client.json(f"/api/models/{quote(identity)}", {"expand": EXPANDED}))
            except NotFoundError:
                return None

        with HubClient(self._hub) as client, ThreadPoolExecutor(PARALLEL, thread_name_prefix="search") as threads:
            found = [one for one in threads.map(ask, identities) if one is not None]
            return self._with_configs(client, found)

    def _ask(self, request: SearchRequest) -> list[HubModel]:
        limit = max(1, min(request.limit, MAX_LIMIT))
        narrowed = request.fits or request.tools or request.vision or request.embedding or request.quantization
        filters = {
            "search": request.words,
            "author": request.author,
            "sort": SORTS.get(request.sort, request.sort),
            "limit": min(MAX_LIMIT, limit * 4 if narrowed or request.sort == "size" else limit + OTHERS),
        }
        return self.list_models({name: value for name, value in filters.items() if value})

    def _chosen(self, found: list[HubModel], request: SearchRequest) -> list[Offer]:
        offers = [self.offer(one, request.context_length) for one in found if one.kind in KINDS]
        offers = [offer for offer in offers if offer_matches(offer, request)]
        if request.sort == "size":
            offers.sort(key=lambda offer: offer.size or 0)
        return offers[: max(1, min(request.limit, MAX_LIMIT))]

    def _with_configs(self, client: HubClient, found: list[HubModel]) -> list[HubModel]:
        """Add the whole configs. The Hub lists only a few keys of each, and a memory plan needs more.

        A config is cached for ever, since a commit does not change.
        """
        with ThreadPoolExecutor(PARALLEL, thread_name_prefix="search") as threads:
            return list(threads.map(lambda one: self._with_config(client, one), found))

    def _with_config(self, client: HubClient, found: HubModel) -> HubModel:
        if found.commit is None:
            return found
        key = ("config", self._hub.endpoint, found.id, found.commit)
        if (kept := self._responses.get(key, dict[str, Any])) is not None:
            return msgspec.structs.replace(found, config={**found.config, **kept[1]})
        try:
            config = client.json(f"/{quote(found.id)}/resolve/{found.commit}/config.json")
        except LmxError:  # gated or removed: the keys of the listing must suffice
            return found
        if not isinstance(config, dict):
            return found
        self._responses.keep(key, short := trim_config(config))
        return msgspec.structs.replace(found, config={**found.config, **short})


def offer_matches(offer: Offer, request: SearchRequest) -> bool:
    """Return whether an offer passes the filters of a request."""
    wanted = normalized(request.quantization)
    return (
        (not request.fits or offer.fit in ("yes", "after unloading"))
        and (not request.tools or offer.tools)
        and (not request.vision or offer.vision)
        and (not request.embedding or offer.embedding)
        and (wanted is None or normalized(offer.quantization) == wanted)
    )


def normalized(name: str | None) -> str | None:
    """Return one spelling for a quantization: "4bit" for "4bit", "4-bit" and "4"."""
    if name is None:
        return None
    plain = name.lower().replace("-", "").replace("_", "")
    return f"{plain}bit" if plain.isdigit() else plain

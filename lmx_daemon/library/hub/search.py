"""`lmx search`: MLX models on the Hub, with what they need on this machine. Answers are kept, and told with their age
where the Hub cannot be asked. Blocking, for a thread; it downloads no weights."""

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any
from urllib.parse import quote

import msgspec

from lmx_daemon.contract.errors import HubError, LmxError, NotFoundError
from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.contract.library import Offer, Offers, SearchRequest
from lmx_daemon.library.catalog.describe import context_length, quantization
from lmx_daemon.library.catalog.fit import MachineCapacity, plan, remote_shape
from lmx_daemon.library.catalog.traits import abilities
from lmx_daemon.library.disk.layout import COMMIT
from lmx_daemon.library.hub.client import HubClient
from lmx_daemon.library.hub.hub import Hub
from lmx_daemon.library.hub.names import REPOSITORY
from lmx_daemon.library.hub.response_cache import ResponseCache

MAX_LIMIT = 100
TOGETHER = 8
SORTS = {"updated": "lastModified", "created": "createdAt", "trending": "trendingScore", "size": "downloads"}
"""The Hub's words where they differ."""
KINDS = (None, "text-generation", "image-text-to-text", "any-to-any", "feature-extraction", "sentence-similarity")
"""Other kinds of models (speech, pictures) are tagged mlx too, and are nothing that lmx runs."""
EMBEDDING_KINDS = ("feature-extraction", "sentence-similarity")
# fmt: off
EXPANDED = [
    "config", "downloads", "gated", "lastModified", "likes", "pipeline_tag", "safetensors", "sha", "tags",
    "usedStorage",
]
# fmt: on
LONGEST_LIST = 512
OTHERS = 20
"""Asked for beyond the limit, since some are of another kind."""


class HubModel(Frozen, frozen=True):
    """What the Hub says of a model; what that means on this machine is computed when it is asked."""

    id: str
    commit: str | None = None
    config: dict[str, Any] = {}
    template: str = ""
    by_type: dict[str, int] = {}
    storage: int | None = None
    tags: tuple[str, ...] = ()
    kind: str | None = None
    downloads: int | None = None
    likes: int | None = None
    updated_at: float | None = None
    gated: bool = False


class Search:
    """Of one Hub. `here` are the models on this disk."""

    def __init__(
        self,
        hub: Hub,
        answers: ResponseCache,
        machine: Callable[[], MachineCapacity],
        here: Collection[str],
    ) -> None:
        self._hub = hub
        self._responses = answers
        self._machine = machine
        self._here = here

    @property
    def endpoint(self) -> str:
        return self._hub.endpoint

    @property
    def cap(self) -> int:
        return self._machine().cap

    def search(self, request: SearchRequest) -> Offers:
        """Raises HubError where the Hub cannot be asked and nothing is kept."""
        question = ("search", self._hub.endpoint, msgspec.structs.replace(request, fits=False, context_length=None))
        return self.answer(question, lambda: self._ask(request), lambda found: self._chosen(found, request))

    def answer(
        self, question: Any, ask: Callable[[], list[HubModel]], choose: Callable[[list[HubModel]], list[Offer]]
    ) -> Offers:
        """Asks, or else takes what was answered before."""
        note = None
        try:
            found = ask()
            asked_at = self._responses.keep(question, found)
        except LmxError as error:
            note = error.message
            kept = self._responses.get(question, list[HubModel])
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
        """With what it needs on this machine."""
        machine = self._machine()
        shape = remote_shape(found.config, found.by_type, found.storage)
        needed = plan(shape, machine, context) if shape and found.config else None
        can = abilities(found.config, found.template, ())
        return Offer(
            id=found.id,
            commit=found.commit,
            size=shape.weights.bytes if shape else None,
            parameters=_parameters(found),
            quantization=quantization(found.config),
            architecture=str(found.config["model_type"]) if found.config.get("model_type") else None,
            context_length=context_length(found.config, {}),
            license=next((tag.partition(":")[2] for tag in found.tags if tag.startswith("license:")), None),
            downloads=found.downloads,
            likes=found.likes,
            updated_at=found.updated_at,
            gated=found.gated,
            tools=can.tools,
            thinking=can.thinking,
            vision=can.vision or found.kind == "image-text-to-text",
            embedding=found.kind in EMBEDDING_KINDS,
            memory=needed.bytes if needed else None,
            memory_context=needed.context if needed else None,
            fit=machine.fit(needed.bytes) if needed else "unknown",
            here=found.id in self._here,
            reason=reason,
        )

    def candidates(self, asked: Mapping[str, Any]) -> list[HubModel]:
        """What the Hub lists, each with its config. Raises HubError."""
        with HubClient(self._hub) as asking:
            listed = asking.json("/api/models", {"filter": "mlx", "expand": EXPANDED, **asked})
            if not isinstance(listed, list):
                raise HubError(f"{self._hub.endpoint} does not answer as a Hub does", hint="check HF_ENDPOINT")
            found = [one for info in listed[:MAX_LIMIT] if (one := candidate(info)) is not None]
            return self._with_configs(asking, found)

    def named(self, identities: Collection[str]) -> list[HubModel]:
        """The same of the models of these ids; those that are not there are left out. Raises HubError."""

        def ask(identity: str) -> HubModel | None:
            try:
                return candidate(asking.json(f"/api/models/{quote(identity)}", {"expand": EXPANDED}))
            except NotFoundError:
                return None

        with HubClient(self._hub) as asking, ThreadPoolExecutor(TOGETHER, thread_name_prefix="search") as threads:
            found = [one for one in threads.map(ask, identities) if one is not None]
            return self._with_configs(asking, found)

    def _ask(self, request: SearchRequest) -> list[HubModel]:
        limit = max(1, min(request.limit, MAX_LIMIT))
        narrowed = request.fits or request.tools or request.vision or request.embedding or request.quantization
        asked = {
            "search": request.words,
            "author": request.author,
            "sort": SORTS.get(request.sort, request.sort),
            "limit": min(MAX_LIMIT, limit * 4 if narrowed or request.sort == "size" else limit + OTHERS),
        }
        return self.candidates({name: value for name, value in asked.items() if value})

    def _chosen(self, found: list[HubModel], request: SearchRequest) -> list[Offer]:
        offers = [self.offer(one, request.context_length) for one in found if one.kind in KINDS]
        offers = [offer for offer in offers if matches(offer, request)]
        if request.sort == "size":
            offers.sort(key=lambda offer: offer.size or 0)
        return offers[: max(1, min(request.limit, MAX_LIMIT))]

    def _with_configs(self, asking: HubClient, found: list[HubModel]) -> list[HubModel]:
        """The Hub lists a short form of each config; the plan needs the whole one, which a commit keeps for ever."""
        with ThreadPoolExecutor(TOGETHER, thread_name_prefix="search") as threads:
            return list(threads.map(lambda one: self._with_config(asking, one), found))

    def _with_config(self, asking: HubClient, found: HubModel) -> HubModel:
        if found.commit is None:
            return found
        question = ("config", self._hub.endpoint, found.id, found.commit)
        if (kept := self._responses.get(question, dict[str, Any])) is not None:
            return msgspec.structs.replace(found, config={**found.config, **kept[1]})
        try:
            config = asking.json(f"/{quote(found.id)}/resolve/{found.commit}/config.json")
        except LmxError:  # gated, or gone: what the listing says has to do
            return found
        if not isinstance(config, dict):
            return found
        self._responses.keep(question, short := trimmed(config))
        return msgspec.structs.replace(found, config={**found.config, **short})


def candidate(info: Any) -> HubModel | None:
    """From an entry of the Hub's listing; None where it is none, or its id is none that lmx would pull."""
    if not isinstance(info, dict) or not isinstance(identity := info.get("id"), str):
        return None
    if not REPOSITORY.fullmatch(identity) or ".." in identity:
        return None
    short = info["config"] if isinstance(info.get("config"), dict) else {}
    safetensors = info["safetensors"] if isinstance(info.get("safetensors"), dict) else {}
    counts = safetensors["parameters"] if isinstance(safetensors.get("parameters"), dict) else {}
    tags, commit, kind = info.get("tags"), info.get("sha"), info.get("pipeline_tag")
    return HubModel(
        id=identity,
        commit=commit if isinstance(commit, str) and COMMIT.fullmatch(commit) else None,
        config=trimmed({key: value for key, value in short.items() if key not in ("tokenizer_config", "auto_map")}),
        template=_template(short),
        by_type={kind: count for kind, count in counts.items() if isinstance(count, int)},
        storage=_number(info.get("usedStorage")),
        tags=tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else (),
        kind=kind if isinstance(kind, str) else None,
        downloads=_number(info.get("downloads")),
        likes=_number(info.get("likes")),
        updated_at=_time(info.get("lastModified")),
        gated=bool(info.get("gated")),
    )


def _template(short: Mapping[str, Any]) -> str:
    tokenizer = short.get("tokenizer_config")
    told = short.get("chat_template_jinja") or (tokenizer.get("chat_template") if isinstance(tokenizer, dict) else None)
    if isinstance(told, list):
        told = "\n".join(str(entry.get("template", "")) for entry in told if isinstance(entry, dict))
    return told if isinstance(told, str) else ""


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None


def _time(value: Any) -> float | None:
    try:
        return datetime.fromisoformat(str(value)).timestamp()
    except ValueError:
        return None


def trimmed(config: Mapping[str, Any]) -> dict[str, Any]:
    """Without what no plan needs and what may be huge: the quantisation of every single layer, labels, long lists."""
    kept: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            kept[key] = {k: v for k, v in trimmed(value).items() if not (key.startswith("quantization") and "." in k)}
        elif not isinstance(value, list) or len(value) <= LONGEST_LIST:
            kept[key] = value
    return kept


def matches(offer: Offer, request: SearchRequest) -> bool:
    wanted = normal(request.quantization)
    return (
        (not request.fits or offer.fit in ("yes", "after unloading"))
        and (not request.tools or offer.tools)
        and (not request.vision or offer.vision)
        and (not request.embedding or offer.embedding)
        and (wanted is None or normal(offer.quantization) == wanted)
    )


def normal(name: str | None) -> str | None:
    """ "4bit", "4-bit" and "4" are the same."""
    if name is None:
        return None
    plain = name.lower().replace("-", "").replace("_", "")
    return f"{plain}bit" if plain.isdigit() else plain


def _parameters(found: HubModel) -> int | None:
    """About: packed numbers are counted by their bits."""
    packed, bits = found.by_type.get("U32", 0), quantization(found.config) or ""
    if packed and bits.endswith("-bit") and bits[:-4].isdigit():
        return packed * 32 // int(bits[:-4])
    return None if packed else sum(found.by_type.values()) or None

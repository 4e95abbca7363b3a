"""`lmx search`: MLX models on the Hub, with what they need on this machine. Answers are kept, and told with their age
where the Hub cannot be asked. Blocking, for a thread; it downloads no weights."""

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal
from urllib.parse import quote

import httpx2
import msgspec

from lmx_daemon.contract.errors import HubError, LmxError
from lmx_daemon.contract.generation import Frozen
from lmx_daemon.contract.library import Offer, Offers, SearchRequest
from lmx_daemon.library.abilities import abilities
from lmx_daemon.library.answers import Answers
from lmx_daemon.library.describe import context_length, quantization
from lmx_daemon.library.fit import Machine, fit_of, plan, remote_shape
from lmx_daemon.library.hub import Hub
from lmx_daemon.library.names import COMMIT, REPOSITORY

MAX_LIMIT = 100
CONFIG_SECONDS = 10.0
MAX_CONFIG_BYTES = 4 * 1024 * 1024
TOGETHER = 8
SORTS: Mapping[str, Literal["created_at", "downloads", "last_modified", "likes", "trending_score"]] = {
    "downloads": "downloads",
    "likes": "likes",
    "updated": "last_modified",
    "created": "created_at",
    "trending": "trending_score",
    "size": "downloads",
}
KINDS = (None, "text-generation", "image-text-to-text", "any-to-any", "feature-extraction", "sentence-similarity")
"""Other kinds of models (speech, pictures) are tagged mlx too, and are nothing that lmx runs."""
EMBEDDING_KINDS = ("feature-extraction", "sentence-similarity")
EXPANDED: Any = [
    "config", "downloads", "gated", "lastModified", "likes", "pipeline_tag", "safetensors", "sha", "tags", "usedStorage",
]  # fmt: skip
LONGEST_LIST = 512


class Candidate(Frozen, frozen=True):
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
    def __init__(
        self,
        hub: Hub,
        answers: Answers,
        machine: Callable[[], Machine],
        here: Callable[[], Collection[str]],
    ) -> None:
        self._hub = hub
        self._answers = answers
        self._machine = machine
        self._here = here

    @property
    def cap(self) -> int:
        return self._machine().cap

    def search(self, request: SearchRequest) -> Offers:
        """Raises HubError where the Hub cannot be asked and nothing is kept."""
        question = ("search", self._hub.endpoint, msgspec.structs.replace(request, fits=False, context_length=None))
        return self.answer(question, lambda: self._ask(request), lambda found: self._chosen(found, request))

    def answer(
        self, question: Any, ask: Callable[[], list[Candidate]], choose: Callable[[list[Candidate]], list[Offer]]
    ) -> Offers:
        """Asks, or else takes what was answered before."""
        note = None
        try:
            self._answers.keep(question, ask())
        except LmxError as error:
            note = error.message
            if self._answers.get(question, list[Candidate]) is None:
                raise
        kept = self._answers.get(question, list[Candidate])
        if kept is None:
            raise HubError("the answer could not be kept", hint="check that $LMX_HOME can be written to")
        asked_at, found = kept
        return Offers(
            offers=tuple(choose(found)),
            asked_at=asked_at,
            from_cache=note is not None,
            note=note,
            cap=self.cap,
        )

    def offer(self, found: Candidate, context: int | None = None, reason: str | None = None) -> Offer:
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
            fit=fit_of(needed.bytes, machine) if needed else "unknown",
            here=found.id in self._here(),
            reason=reason,
        )

    def candidates(self, **asked: Any) -> list[Candidate]:
        """What the Hub lists, each with its config. Raises HubError."""
        self._hub.refuse_if_offline()
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError

        try:
            api = HfApi(endpoint=self._hub.endpoint)
            listed = list(api.list_models(filter=["mlx"], expand=EXPANDED, token=self._hub.token(), **asked))
        except (HfHubHTTPError, httpx2.HTTPError, OSError, ValueError, KeyError, TypeError) as error:
            raise self._unreachable(error) from error
        return self._with_configs([found for info in listed if (found := candidate(info)) is not None])

    def named(self, identities: Collection[str]) -> list[Candidate]:
        """The same of the models of these ids; those that are not there are left out. Raises HubError."""
        self._hub.refuse_if_offline()
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

        api, token = HfApi(endpoint=self._hub.endpoint), self._hub.token()

        def ask(identity: str) -> Candidate | None:
            try:
                return candidate(api.model_info(identity, expand=EXPANDED, token=token))
            except RepositoryNotFoundError:
                return None
            except (HfHubHTTPError, httpx2.HTTPError, OSError, ValueError, KeyError, TypeError) as error:
                raise self._unreachable(error) from error

        with ThreadPoolExecutor(TOGETHER, thread_name_prefix="search") as threads:
            found = list(threads.map(ask, identities))
        return self._with_configs([one for one in found if one is not None])

    def _ask(self, request: SearchRequest) -> list[Candidate]:
        limit = max(1, min(request.limit, MAX_LIMIT))
        narrowed = request.fits or request.tools or request.vision or request.embedding or request.quantization
        return self.candidates(
            search=request.words or None,
            author=request.author,
            sort=SORTS[request.sort],
            limit=min(MAX_LIMIT, limit * 4) if narrowed or request.sort == "size" else limit,
        )

    def _chosen(self, found: list[Candidate], request: SearchRequest) -> list[Offer]:
        offers = [self.offer(one, request.context_length) for one in found if one.kind in KINDS]
        offers = [offer for offer in offers if matches(offer, request)]
        if request.sort == "size":
            offers.sort(key=lambda offer: offer.size or 0)
        return offers[: max(1, min(request.limit, MAX_LIMIT))]

    def _with_configs(self, found: list[Candidate]) -> list[Candidate]:
        """The Hub lists a short form of each config; the plan needs the whole one, which a commit keeps for ever."""
        headers = {"Authorization": f"Bearer {token}"} if (token := self._hub.token()) else {}
        with (
            httpx2.Client(timeout=CONFIG_SECONDS, follow_redirects=True, headers=headers) as client,
            ThreadPoolExecutor(TOGETHER, thread_name_prefix="search") as threads,
        ):
            return list(threads.map(lambda one: self._with_config(client, one), found))

    def _with_config(self, client: httpx2.Client, found: Candidate) -> Candidate:
        if found.commit is None:
            return found
        question = ("config", self._hub.endpoint, found.id, found.commit)
        kept = self._answers.get(question, dict[str, Any])
        config = kept[1] if kept else self._fetch_config(client, found)
        if config is None:
            return found
        if kept is None:
            self._answers.keep(question, config)
        return msgspec.structs.replace(found, config={**found.config, **config})

    def _fetch_config(self, client: httpx2.Client, found: Candidate) -> dict[str, Any] | None:
        url = f"{self._hub.endpoint}/{quote(found.id)}/resolve/{found.commit}/config.json"
        try:
            with client.stream("GET", url) as response:
                content = b""
                for chunk in response.iter_bytes():
                    if response.status_code != 200 or len(content := content + chunk) > MAX_CONFIG_BYTES:
                        return None
            value = msgspec.json.decode(content, type=dict[str, Any])
        except (httpx2.HTTPError, msgspec.MsgspecError, RecursionError):
            return None
        return trimmed(value)

    def _unreachable(self, error: Exception) -> HubError:
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        return HubError(f"cannot ask {self._hub.endpoint} ({reason})", hint="check the network, and try again")


def candidate(info: Any) -> Candidate | None:
    """From huggingface_hub's ModelInfo; None where its id is none that lmx would pull."""
    identity, commit = str(info.id), str(info.sha) if info.sha else None
    if not REPOSITORY.fullmatch(identity) or ".." in identity:
        return None
    short = info.config if isinstance(info.config, dict) else {}
    tokenizer = short.get("tokenizer_config")
    told = short.get("chat_template_jinja") or (tokenizer.get("chat_template") if isinstance(tokenizer, dict) else None)
    if isinstance(told, list):
        told = "\n".join(str(entry.get("template", "")) for entry in told if isinstance(entry, dict))
    counts = info.safetensors.parameters if info.safetensors else {}
    return Candidate(
        id=identity,
        commit=commit if commit and COMMIT.fullmatch(commit) else None,
        config=trimmed({key: value for key, value in short.items() if key not in ("tokenizer_config", "auto_map")}),
        template=told if isinstance(told, str) else "",
        by_type={str(kind): count for kind, count in counts.items() if isinstance(count, int)},
        storage=info.used_storage if isinstance(info.used_storage, int) else None,
        tags=tuple(str(tag) for tag in info.tags or ()),
        kind=info.pipeline_tag,
        downloads=info.downloads,
        likes=info.likes,
        updated_at=info.last_modified.timestamp() if info.last_modified else None,
        gated=bool(info.gated),
    )


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


def _parameters(found: Candidate) -> int | None:
    """About: packed numbers are counted by their bits."""
    packed, bits = found.by_type.get("U32", 0), quantization(found.config) or ""
    if packed and bits.endswith("-bit") and bits[:-4].isdigit():
        return packed * 32 // int(bits[:-4])
    return None if packed else sum(found.by_type.values()) or None


"""Model cards: the README.md of an installed model, and that of a repository on the Hub. All functions block.

A card is not trusted. Its reads are bounded, it is text, and a link leads to no other file of the user.
"""

import os
import time
from pathlib import Path
from urllib.parse import quote

from lmx_daemon.contract.admin.library.hub import ModelCard
from lmx_daemon.contract.errors import LmxError, NotFoundError, UntrustedModelError
from lmx_daemon.contract.models import Model
from lmx_daemon.library.disk.layout import BLOB, repository_folder
from lmx_daemon.library.hub.hub import Hub
from lmx_daemon.library.hub.hub_client import HubClient
from lmx_daemon.library.hub.names import checked_repository
from lmx_daemon.library.hub.response_cache import ResponseCache
from lmx_daemon.storage.foreign.reading import open_model_file

CARD = "README.md"
MAX_CARD_BYTES = 64 * 1024
"""Bytes of a card that are shown."""
MAX_RESPONSE_BYTES = 1024 * 1024
"""Longest README.md that is fetched from the Hub."""
FRESH_SECONDS = 3600.0
"""Age up to which a card of the Hub is used without a new request."""
MAX_WRONG_SHARE = 0.1
"""Share of characters that are not UTF-8 above which a card is no text."""


def local_card(model: Model) -> ModelCard:
    """Return the card of an installed model. Raises NotFoundError, UntrustedModelError."""
    file = Path(model.path) / CARD
    target = Path(os.path.realpath(file))
    if not _belongs(target, Path(model.path)):
        raise UntrustedModelError(f"the {CARD} of {model.id} is a link to another file", hint="it is not shown")
    try:
        with open_model_file(target) as opened:
            content = opened.read(MAX_CARD_BYTES + 1)
    except OSError as error:
        raise NotFoundError(f"{model.id} has no model card", hint=f"its folder has no readable {CARD}") from error
    return _card(model.id, content)


def hub_card(hub: Hub, responses: ResponseCache, repo: str) -> ModelCard:
    """Return the card of a repository, from the cache if it is fresh or if the Hub cannot be reached.

    Raises RequestError, NotFoundError, HubError, UntrustedModelError.
    """
    key = ("card", hub.endpoint, checked_repository(repo))
    kept = responses.get(key, ModelCard)
    if kept is not None and 0 <= time.time() - kept[0] < FRESH_SECONDS:
        return _dated(kept[1], kept[0])
    try:
        with HubClient(hub) as client:
            content = client.content(f"/{quote(repo)}/resolve/main/{CARD}", most=MAX_RESPONSE_BYTES)
    except NotFoundError:
        raise NotFoundError(f"the Hub has no model card of {repo}, or it is private") from None
    except LmxError as error:
        if kept is None:
            raise
        return _dated(kept[1], kept[0], error.message)
    card = _card(repo, content)
    return _dated(card, responses.keep(key, card))


def _dated(card: ModelCard, asked_at: float, note: str | None = None) -> ModelCard:
    return ModelCard(id=card.id, text=card.text, cut=card.cut, asked_at=asked_at, note=note)


def _belongs(target: Path, folder: Path) -> bool:
    """Return whether a resolved path is a file of the model: in its folder, or a blob of its repository.

    The files of an imported model are links to files of the same name.
    """
    folder = Path(os.path.realpath(folder))
    blobs = Path(os.path.realpath(repository_folder(folder) / "blobs"))
    is_blob = target.parent == blobs and BLOB.fullmatch(target.name) is not None
    return target.is_relative_to(folder) or is_blob or target.name == CARD


def _card(identity: str, content: bytes) -> ModelCard:
    """Return the card that a README.md holds. Raises UntrustedModelError if it is not text."""
    kept = content[:MAX_CARD_BYTES]
    text = kept.decode("utf-8-sig", errors="replace")
    if b"\0" in kept or text.count("\N{REPLACEMENT CHARACTER}") > len(text) * MAX_WRONG_SHARE:
        raise UntrustedModelError(f"the {CARD} of {identity} is not text")
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return ModelCard(id=identity, text=without_front_matter(lines), cut=len(content) > MAX_CARD_BYTES)


def without_front_matter(text: str) -> str:
    """Return Markdown without the YAML block between two lines of `---` at its begin."""
    first, _, rest = text.partition("\n")
    if first.rstrip() != "---":
        return text.strip("\n")
    lines = rest.split("\n")
    ends = [number for number, line in enumerate(lines) if line.rstrip() == "---"]
    return "\n".join(lines[ends[0] + 1 :] if ends else [first, *lines]).strip("\n")

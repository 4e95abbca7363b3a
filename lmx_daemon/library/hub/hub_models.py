"""Models as the Hub's listing describes them. Every field is checked, since a listing is not trusted."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.library.catalog.describe import quantization
from lmx_daemon.library.disk.layout import COMMIT
from lmx_daemon.library.hub.names import REPOSITORY

LONGEST_LIST = 512
"""Number of entries above which a list in a config is dropped."""


class HubModel(Frozen, frozen=True):
    """A model on the Hub, independent of this machine."""

    id: str
    commit: str | None = None
    config: dict[str, Any] = {}
    template: str = ""
    by_type: dict[str, int] = {}
    """Number of stored elements of each type."""
    storage: int | None = None
    """Bytes of the repository."""
    tags: tuple[str, ...] = ()
    kind: str | None = None
    """The Hub's pipeline tag."""
    downloads: int | None = None
    likes: int | None = None
    updated_at: float | None = None
    gated: bool = False


def parse_model(info: Any) -> HubModel | None:
    """Return the model of an entry in the Hub's listing; None when the entry or its id is invalid."""
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
        config=trim_config({key: value for key, value in short.items() if key not in ("tokenizer_config", "auto_map")}),
        template=_template(short),
        by_type={kind: count for kind, count in counts.items() if _number(count) is not None},
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
    found = short.get("chat_template_jinja") or (
        tokenizer.get("chat_template") if isinstance(tokenizer, dict) else None
    )
    if isinstance(found, list):
        found = "\n".join(str(entry.get("template", "")) for entry in found if isinstance(entry, dict))
    return found if isinstance(found, str) else ""


def _number(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _time(value: Any) -> float | None:
    try:
        return datetime.fromisoformat(value).timestamp() if isinstance(value, str) else None
    except (ValueError, OverflowError):  # OverflowError: a year that the system's clock cannot represent
        return None


def trim_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config without large parts that no memory plan needs, such as the quantization of single layers."""
    kept: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            kept[key] = {
                k: v for k, v in trim_config(value).items() if not (key.startswith("quantization") and "." in k)
            }
        elif not isinstance(value, list) or len(value) <= LONGEST_LIST:
            kept[key] = value
    return kept


def approximate_parameters(model: HubModel) -> int | None:
    """Return the approximate number of parameters; packed weights are counted by their bits."""
    packed, bits = model.by_type.get("U32", 0), quantization(model.config) or ""
    if packed and bits.endswith("-bit") and bits[:-4].isdigit():
        return packed * 32 // int(bits[:-4])
    return None if packed else sum(model.by_type.values()) or None

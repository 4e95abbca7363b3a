"""Models as table rows, and text about their state, computed from a snapshot. Pure."""

from collections.abc import Mapping, Sequence

from rich.text import Text

from lmx_daemon.contract.admin.library.pulls import DOWNLOAD_ENDS
from lmx_daemon.contract.admin.snapshot import Snapshot
from lmx_daemon.contract.models import Instance, InstanceState, Model, Verdict
from lmx_daemon.contract.units import UNKNOWN, age, size, tokens
from lmx_tui.formatting import fewer_words, one_line, percent, short_name
from lmx_tui.widgets.frame.table import Column
from lmx_tui.widgets.models.model_query import ModelQuery, facts_of_model

STATE_CELLS = 12
COLUMNS = (
    Column("glyph", "", 2, keep=9),
    Column("name", "name", 24, flexible=True, keep=10, middle=True),
    Column("quant", "quant", 7, keep=4),
    Column("size", "size", 7, right=True, keep=6),
    Column("context", "ctx", 4, right=True, keep=3),
    Column("state", "state", STATE_CELLS, keep=8),
    Column("memory", "memory", 7, right=True, keep=5),
    Column("used", "used", 6, right=True, keep=2),
)
SORTS = {"used": "last used", "name": "name", "size": "size", "context": "context length", "memory": "memory"}
NEWER = "↑"
LOADING: frozenset[InstanceState] = frozenset({"starting", "loading"})
GLYPHS = {"ready": "●", "loading": "◐", "starting": "◐", "leaving": "◌", "failed": "!"}
COLORS = {"ready": "success", "loading": "warning", "starting": "warning", "leaving": "muted", "failed": "error"}


def instances_of(snapshot: Snapshot) -> dict[str, Instance]:
    """Return model id -> instance, preferring a ready one."""
    order = {"ready": 2, "loading": 1, "starting": 1}
    found: dict[str, Instance] = {}
    for instance in snapshot.instances:
        known = found.get(instance.model)
        if known is None or order.get(instance.state, 0) > order.get(known.state, 0):
            found[instance.model] = instance
    return found


def ordered(
    snapshot: Snapshot, query: ModelQuery, sort: str, reverse: bool, verdicts: Mapping[str, Verdict]
) -> list[Model]:
    """Return the models that match `query`, sorted by `sort`; unknown values come last. `verdicts` are known plans."""
    instances = instances_of(snapshot)
    shown = [
        model
        for model in snapshot.models
        if query.matches(facts_of_model(model, instances.get(model.id), verdicts.get(model.id)))
    ]

    def value(model: Model) -> float:
        instance = instances.get(model.id)
        match sort:
            case "size":
                return model.size
            case "context":
                return model.context_length or 0
            case "memory":
                return instance.held if instance else 0
            case _:
                return last_use(model, instance, snapshot.taken_at) or 0.0

    shown.sort(key=lambda model: (short_name(model.id).lower(), model.id), reverse=reverse and sort == "name")
    if sort != "name":
        shown.sort(key=value, reverse=not reverse)
    return shown


def state_words(instance: Instance | None) -> str:
    """Return the state of an instance, with the progress of its load."""
    if instance is None:
        return UNKNOWN
    if instance.state in LOADING:
        return f"loading {percent(instance.progress)}" if instance.progress is not None else "loading"
    if instance.state == "ready" and instance.running:
        return f"▶ {instance.running} running" if instance.running < 100 else "▶ running"
    return instance.state


def short_state(instance: Instance | None, width: int) -> str:
    """Return the state for a column: during a load its stage, in as many words as fit."""
    if instance is None or instance.state not in LOADING or not instance.stage:
        return state_words(instance)
    share = f" {percent(instance.progress)}" if instance.progress is not None else ""
    return fewer_words(one_line(instance.stage), width - len(share)) + share


def load_words(instance: Instance) -> str:
    """Return the state, during a load with its stage: "loading 41%, weights"."""
    stage = one_line(instance.stage) if instance.state in LOADING else ""
    return ", ".join(filter(None, (state_words(instance), stage)))


def last_use(model: Model, instance: Instance | None, now: float) -> float | None:
    """Return the time at which a model was last used, `now` if it has running requests."""
    if instance is None:
        return model.used_at
    return now if instance.running else instance.used_at or instance.loaded_at


def newer_count(snapshot: Snapshot) -> int:
    """Return the number of models with a newer version upstream."""
    return sum(model.newer is not None for model in snapshot.models)


def update_words(model: Model, instance: Instance | None) -> str:
    """Return the effect of an update of a model, for the confirmation."""
    here, there = (one_line(commit[:12]) for commit in (model.revision or UNKNOWN, model.newer or UNKNOWN))
    words = f"From {here} to {there}. Only files that differ are fetched, at most about {size(model.size or None)}. "
    words += "This version stays until the new one is verified."
    return words if instance is None else f"{words}\n\nIt is loaded, and answers as this version until it is unloaded."


def expiry(instance: Instance, now: float) -> str:
    """Return when an instance is unloaded: "in 5m", "idle 15m", "pinned" or "never"."""
    if instance.pinned:
        return "pinned"
    if instance.expires_at is None and instance.ttl is not None:
        return f"idle {age(max(2.0, instance.ttl))}"
    return f"in {age(max(2.0, instance.expires_at - now))}" if instance.expires_at else "never"


def model_rows(snapshot: Snapshot, models: Sequence[Model], colors: Mapping[str, str]) -> dict[str, dict[str, Text]]:
    instances = instances_of(snapshot)
    pulling = {download.repo for download in snapshot.downloads if download.state not in DOWNLOAD_ENDS}
    owners: dict[str, int] = {}
    for model in models:
        owners[short_name(model.id)] = owners.get(short_name(model.id), 0) + 1
    rows: dict[str, dict[str, Text]] = {}
    for model in models:
        instance = instances.get(model.id)
        glyph, color = _glyph(model, instance, model.id in pulling)
        memory = instance.held or None if instance else None
        used = last_use(model, instance, snapshot.taken_at)
        rows[model.id] = {
            "glyph": Text(glyph, colors[color]).append(NEWER if model.newer else "", colors["secondary"]),
            "name": _name(model, short=owners[short_name(model.id)] == 1 and model.source == "hub"),
            "quant": Text(one_line(model.quantization or UNKNOWN)),
            "size": Text(size(model.size or None)),
            "context": Text(tokens(model.context_length)),
            "state": Text("unusable" if model.problem else short_state(instance, STATE_CELLS), colors[color]),
            "memory": Text(size(memory)),
            "used": Text(age(snapshot.taken_at - used) if used else UNKNOWN),
        }
    return rows


def _glyph(model: Model, instance: Instance | None, pulling: bool) -> tuple[str, str]:
    if instance is not None:
        return GLYPHS[instance.state], COLORS[instance.state]
    if pulling:
        return "↓", "secondary"
    return ("!", "error") if model.problem else (" ", "muted")


def _name(model: Model, *, short: bool) -> Text:
    """Return the name of a model, without its owner if the name is unique."""
    return Text(short_name(model.id) if short else one_line(model.id))

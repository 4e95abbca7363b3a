"""Requests and loaded models as rows of the monitor's tables, computed from a snapshot. Pure."""

from collections.abc import Mapping

import msgspec
from rich.text import Text

from lmx_daemon.contract.admin.snapshot import RequestRow, Snapshot
from lmx_daemon.contract.models import Instance
from lmx_daemon.contract.units import UNKNOWN, age, size, timing, tokens
from lmx_tui.formatting import cached, count, miss_reason, one_line, percent, rate, short_name
from lmx_tui.widgets.frame.table import Column
from lmx_tui.widgets.models.model_rows import (
    COLORS,
    GLYPHS,
    LOADING,
    STATE_CELLS,
    expiry,
    instances_of,
    load_words,
    short_state,
)

REQUEST_COLUMNS = (
    Column("id", "id", 8, keep=9),
    Column("model", "model", 12, flexible=True, keep=10, middle=True),
    Column("state", "state", STATE_CELLS, keep=9),
    Column("prompt", "prompt", 7, right=True, keep=7),
    Column("cached", "cached", 6, right=True, keep=4),
    Column("out", "out", 6, right=True, keep=8),
    Column("rate", "tok/s", 6, right=True, keep=8),
    Column("ttft", "ttft", 7, right=True, keep=5),
    Column("age", "age", 4, right=True, keep=6),
    Column("client", "client", 18, keep=3),
    Column("route", "route", 22, keep=1),
)
INSTANCE_COLUMNS = (
    Column("glyph", "", 1, keep=9),
    Column("model", "model", 20, flexible=True, keep=10, middle=True),
    Column("state", "state", STATE_CELLS, keep=9),
    Column("memory", "memory", 8, right=True, keep=8),
    Column("weights", "weights", 8, right=True, keep=3),
    Column("values", "kv", 8, right=True, keep=3),
    Column("cache", "prefix", 8, right=True, keep=3),
    Column("other", "other", 8, right=True, keep=2),
    Column("context", "ctx", 5, right=True, keep=4),
    Column("running", "run", 4, right=True, keep=6),
    Column("waiting", "wait", 4, right=True, keep=5),
    Column("rate", "tok/s", 6, right=True, keep=7),
    Column("expires", "expires", 8, right=True, keep=2),
    Column("backend", "computes on", 22, keep=1),
)
ENDED = frozenset({"finished", "failed", "cancelled"})
STATE_COLORS = {
    "queued": "warning",
    "loading": "warning",
    "prefill": "secondary",
    "decode": "success",
    "finished": "muted",
    "failed": "error",
    "cancelled": "muted",
}
MAX_ROWS = 100
KEPT = 50
"""Number of requests that stay after they have left the snapshot; the Logs screen has the older ones."""
MISSED = "*"
"""Sign after the cached share when there is a miss reason."""


def running_and_ended(snapshot: Snapshot) -> tuple[list[RequestRow], list[RequestRow]]:
    """Return the active requests in order of arrival, and the ended ones, the latest first."""
    running = [row for row in snapshot.requests if row.state not in ENDED]
    ended = [row for row in snapshot.requests if row.state in ENDED]
    running.sort(key=lambda row: row.started_at)
    ended.sort(key=lambda row: row.started_at, reverse=True)
    return running, ended


def request_rows(snapshot: Snapshot, colors: Mapping[str, str]) -> dict[str, dict[str, Text]]:
    running, ended = running_and_ended(snapshot)
    instances = instances_of(snapshot)
    return {row.id: _request_row(row, instances.get(row.model), colors) for row in (running + ended)[:MAX_ROWS]}


def cursor_after(selected: str | None, before: Snapshot | None, after: Snapshot) -> str | None:
    """Return the request that the cursor moves to, or None if it stays on its row.

    Active requests are listed above ended ones, so a cursor on an ended request would move out of view. The cursor
    never moves to an active request by itself, since a key meant for another one would cancel it.
    """
    if before is None:
        return None
    running, ended = running_and_ended(before)
    over = [row.id for row in running_and_ended(after)[1]]
    has_ended = selected in over and selected in {row.id for row in running}
    was_latest = bool(ended) and selected == ended[0].id
    return over[0] if over and (has_ended or was_latest) else None


def request_note(row: RequestRow | None, instance: Instance | None) -> str:
    """Return details without a column: the error, the load of the model, or the cached share and the miss reason."""
    if row is None:
        return ""
    if row.error is not None:
        return one_line(row.error.message)
    if row.state == "loading" and instance is not None and instance.state in LOADING:
        return load_words(instance)
    why = miss_reason(row.miss, row.first_difference)
    words = cached(row.cached_tokens, row.prompt_tokens)
    return f"{words}{MISSED} · {why}" if why else words


def _state_words(row: RequestRow, instance: Instance | None) -> str:
    """Return the state of a request; during a load, the same text as in the model's row."""
    if row.state == "loading" and instance is not None and instance.state in LOADING:
        return short_state(instance, STATE_CELLS)
    progress = f" {percent(row.progress)}" if row.progress is not None and row.state in ("loading", "prefill") else ""
    place = f" #{row.position}" if row.position and row.state == "queued" else ""
    return f"{row.state}{progress}{place}"


def _request_row(row: RequestRow, instance: Instance | None, colors: Mapping[str, str]) -> dict[str, Text]:
    base = colors["muted"] if row.state in ENDED else ""
    share = row.cached_tokens / row.prompt_tokens if row.cached_tokens is not None and row.prompt_tokens else None
    cells = {
        "id": one_line(row.id)[-8:],
        "model": short_name(row.model),
        "prompt": count(row.prompt_tokens),
        "cached": percent(share) + (MISSED if row.miss else " "),
        "out": count(row.completion_tokens) if row.completion_tokens else UNKNOWN,
        "rate": rate(row.rate),
        "ttft": timing(row.first_token),
        "age": age(row.age),
        "client": one_line(row.client) or UNKNOWN,
        "route": one_line(row.route) or UNKNOWN,
    }
    state = Text(_state_words(row, instance), colors[STATE_COLORS[row.state]])
    return {name: Text(value, base) for name, value in cells.items()} | {"state": state}


def memory_parts(instance: Instance) -> dict[str, int]:
    """Return the bytes of weights, keys and values, prefix cache, and what else the process holds."""
    memory = instance.memory
    known = {
        "weights": memory.weights,
        "values": max(0, memory.active - memory.weights - memory.prefix_cache),
        "cache": memory.prefix_cache,
    }
    return known | {"other": max(0, instance.held - sum(known.values()))}


def with_kept(snapshot: Snapshot, kept: Mapping[str, RequestRow]) -> Snapshot:
    """Return the snapshot with the requests `kept` that have ended and left it."""
    present = {row.id for row in snapshot.requests}
    gone = tuple(row for row in kept.values() if row.id not in present)
    return msgspec.structs.replace(snapshot, requests=(*snapshot.requests, *gone)) if gone else snapshot


def keep_ended(kept: Mapping[str, RequestRow], snapshot: Snapshot) -> dict[str, RequestRow]:
    """Return the latest requests that have ended, those of the snapshot included."""
    found = dict(kept) | {row.id: row for row in snapshot.requests if row.state in ENDED}
    return dict(list(found.items())[-KEPT:])


def instance_rows(snapshot: Snapshot, colors: Mapping[str, str]) -> dict[str, dict[str, Text]]:
    return {instance.id: _instance_row(instance, snapshot.taken_at, colors) for instance in snapshot.instances}


def _instance_row(instance: Instance, now: float, colors: Mapping[str, str]) -> dict[str, Text]:
    context = instance.capabilities.context_length if instance.capabilities else None
    cells = {
        "model": short_name(instance.model),
        "memory": size(instance.held or None),
        **{name: size(count or None) for name, count in memory_parts(instance).items()},
        "context": tokens(context),
        "running": str(instance.running),
        "waiting": str(instance.waiting),
        "rate": rate(instance.decode_rate),
        "expires": expiry(instance, now),
        "backend": one_line(instance.backend) or UNKNOWN,
    }
    state = short_state(instance, STATE_CELLS) if instance.error is None else f"failed: {one_line(instance.error.code)}"
    color = colors[COLORS[instance.state]]
    return {name: Text(value) for name, value in cells.items()} | {
        "glyph": Text(GLYPHS[instance.state], color),
        "state": Text(state, color),
    }

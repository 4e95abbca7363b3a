"""A request that has ended, as text: its record and the timeline of its stages. Pure."""

import time
from collections.abc import Iterator, Mapping

from rich.text import Text

from lmx_daemon.contract.admin.history import RequestRecord
from lmx_daemon.contract.units import UNKNOWN, timing
from lmx_tui.formatting import bar, clean, count, miss_reason, one_line, percent, rate

STAGES = {"queue": "muted", "load": "warning", "prefill": "model-1", "decode": "success", "rest": "faint"}
"""Stage of a request -> colour of its part of the timeline."""
SHADES = {"queue": "░", "load": "▒", "prefill": "▓", "decode": "█", "rest": "·"}
"""Characters that tell the stages apart without colours."""
LABEL_CELLS = 10
OUTCOME_COLORS = {"finished": "success", "failed": "error", "cancelled": "warning"}
NO_TEXT = "not kept; lmx config set history.failed_requests true keeps that of requests that fail"


def stages(record: RequestRecord) -> dict[str, float]:
    """Return the seconds of each stage that the request reached, in their order.

    The waiting time of a record includes the load of the model.
    """
    load = record.load or 0.0
    found = {
        "queue": max(0.0, (record.queue or 0.0) - load),
        "load": load,
        "prefill": record.prefill or 0.0,
        "decode": record.decode or 0.0,
    }
    found["rest"] = max(0.0, record.total - sum(found.values()))
    return {name: seconds for name, seconds in found.items() if seconds > 0}


def cells(parts: Mapping[str, float], width: int) -> dict[str, int]:
    """Return the cells of each part of a bar; every part has at least one."""
    whole = sum(parts.values())
    if not parts or whole <= 0 or width < len(parts):
        return {}
    found = {name: max(1, int(seconds / whole * width)) for name, seconds in parts.items()}
    longest = max(found, key=lambda name: found[name])
    found[longest] = max(1, found[longest] + width - sum(found.values()))
    return found


def inspection(record: RequestRecord, colors: Mapping[str, str], width: int) -> Text:
    """Return everything that is known about a request, for `width` cells."""
    text = Text()
    text.append(one_line(record.id), "bold").append("  ")
    text.append(record.outcome, colors[OUTCOME_COLORS[record.outcome]])
    text.append(f"  {one_line(record.finish)}\n" if record.finish else "\n", colors["muted"])
    if record.error or record.message:
        text.append("! ", colors["error"]).append(clean(": ".join(filter(None, (record.error, record.message)))) + "\n")
    text.append("\n").append_text(timeline(record, colors, width)).append("\n")
    for label, value in facts(record):
        text.append(f"{label:<{LABEL_CELLS}}", colors["muted"]).append(f"{value}\n")
    return text


def timeline(record: RequestRecord, colors: Mapping[str, str], width: int) -> Text:
    """Return the stages as one bar with a legend."""
    parts = stages(record)
    text = Text()
    for name, number in cells(parts, max(10, width)).items():
        text.append(SHADES[name] * number, colors[STAGES[name]])
    text.append("\n")
    left = width
    for name, seconds in parts.items():
        words = f"{name} {timing(seconds)}"
        if len(words) + 4 > left:
            text.append("\n")
            left = width
        left -= len(words) + 4
        text.append(f"{SHADES[name]} ", colors[STAGES[name]]).append(f"{words}  ")
    return text.append(f"\ntotal {timing(record.total)}\n", colors["muted"])


def facts(record: RequestRecord) -> Iterator[tuple[str, str]]:
    """Yield (label, value) of the figures of a request that are known."""
    yield "arrived", time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.at))
    yield "model", one_line(record.served_by or record.model)
    if record.served_by not in ("", record.model):
        yield "asked for", one_line(record.model)
    if record.routed:
        yield "routed", one_line(record.routed)
    yield "client", one_line(" ".join(filter(None, (record.client, f"({record.tenant})" if record.tenant else ""))))
    yield "route", one_line(" ".join(filter(None, (record.route or "admin socket", record.dialect))))
    yield from _prompt(record)
    speed = f", {rate(record.rate)} tok/s" if record.rate else ""
    yield "answer", f"{count(record.completion_tokens)} tokens{speed}"
    yield "TTFT", timing(record.first_token)
    yield "text", "kept: e exports it, r sends it to another model" if record.body else NO_TEXT


def _prompt(record: RequestRecord) -> Iterator[tuple[str, str]]:
    if record.prompt_tokens is None:
        yield "prompt", UNKNOWN
        return
    yield "prompt", f"{count(record.prompt_tokens)} tokens"
    if record.truncated_tokens:
        yield "left out", f"{count(record.truncated_tokens)} tokens did not fit"
    share = (record.cached_tokens or 0) / record.prompt_tokens if record.prompt_tokens else 0.0
    yield "cached", f"{bar(share, 20)} {percent(share)}, {count(record.cached_tokens or 0)} tokens"
    if record.miss:
        yield "differs", miss_reason(record.miss, record.first_difference)

"""Options of a load: the typed fields as a request, the request as a command, and a verdict as text. Pure."""

import re
import shlex
from collections.abc import Sequence

from lmx_daemon.contract.admin.protocol import LoadRequest
from lmx_daemon.contract.models import Alternative, Instance, Verdict
from lmx_daemon.contract.units import age, size, tokens
from lmx_tui.formatting import count, short_name

SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
MOST = 2**31 - 1


def load_request(model: str, context: str, slots: str, ttl: str, *, pin: bool) -> LoadRequest:
    """Return the load that the fields describe; empty fields leave the value to the daemon. Raise ValueError."""
    return LoadRequest(
        model=model,
        context_length=_count("context", context, "write it as 32768 or 32k"),
        slots=_count("slots", slots, "write it as 4"),
        ttl=_seconds(ttl),
        pin=pin or None,
    )


def load_command(request: LoadRequest) -> str:
    """Return the command that makes the same load."""
    words = ["lmx", "load", request.model]
    options = (("--context", request.context_length), ("--slots", request.slots), ("--ttl", request.ttl))
    for name, value in options:
        if value is not None:
            words += [name, str(int(value))]
    return shlex.join([*words, "--pin"] if request.pin else words)


def effect_words(verdict: Verdict, instances: Sequence[Instance], now: float) -> str:
    """Return the effect of the load on other models; empty if there is none."""
    known = {instance.id: instance for instance in instances}
    if verdict.outcome not in ("evicts", "waits"):
        return ""
    names = ", ".join(_other(name, known.get(name), now) for name in verdict.others)
    return f"unloads {names}" if verdict.outcome == "evicts" else f"waits until idle: {names}"


def freed_by(verdict: Verdict, instances: Sequence[Instance]) -> int:
    """Return the bytes of the models that the load unloads or waits for."""
    others = set(verdict.others)
    return sum(instance.held for instance in instances if instance.id in others)


def alternative_words(choice: Alternative) -> str:
    """Return a change with which a refused load would fit, as a choice."""
    if choice.unload is not None:
        return f"unload {_model_of(choice.unload)}, pinned, frees {size(choice.frees)}"
    parts = [f"context {tokens(choice.context)}"] if choice.context else []
    if choice.slots:
        parts.append(f"{choice.slots} slot{'s' if choice.slots > 1 else ''}")
    return f"{', '.join(parts)}: fits"


def shorter_context(request: LoadRequest, verdict: Verdict) -> str:
    """Return a note if the model has a shorter context than the request asks for."""
    if request.context_length is None or request.context_length <= verdict.plan.context:
        return ""
    return f"the model's maximum is {count(verdict.plan.context)} tokens"


def _other(name: str, instance: Instance | None, now: float) -> str:
    if instance is None:
        return _model_of(name)
    used = instance.used_at or instance.loaded_at
    idle = f"idle {age(now - used)}, " if used and not instance.running else ""
    return f"{short_name(instance.model)} ({idle}frees {size(instance.held or None)})"


def _model_of(instance: str) -> str:
    """Return the name of the model of an instance, whose id is the model's and a suffix."""
    return short_name(instance.rpartition(":")[0] or instance)


def _count(name: str, text: str, hint: str) -> int | None:
    if not text.strip():
        return None
    found = re.fullmatch(r"(\d{1,10})(k?)", text.strip().lower().replace(",", ""))
    value = int(found[1]) * (1024 if found[2] else 1) if found else 0
    if not 1 <= value <= MOST:
        raise ValueError(f"{name} is {text.strip()[:20]!r}, which is not a number from 1; {hint}")
    return value


def _seconds(text: str) -> float | None:
    if not text.strip():
        return None
    found = re.fullmatch(r"(\d{1,9})([smhd]?)", text.strip().lower())
    if not found:
        raise ValueError(f"unload after is {text.strip()[:20]!r}, which is not a duration; write it as 30m, 2h or 90s")
    return float(int(found[1]) * SECONDS[found[2]])

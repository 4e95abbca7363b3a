"""The memory plan of a model as bars against the cap. Pure."""

from collections.abc import Mapping

from rich.text import Text

from lmx_daemon.contract.models import Verdict
from lmx_daemon.contract.units import gigabytes, size, tokens
from lmx_tui.formatting import clean

LABEL_CELLS = 11
FIGURE_CELLS = 8
OUTCOMES = {
    "fits": ("✓ fits", "success"),
    "evicts": ("✓ fits after others are unloaded", "warning"),
    "waits": ("waits until others are idle", "warning"),
    "refused": ("! does not fit", "error"),
}


def plan_bars(verdict: Verdict, used: int, colors: Mapping[str, str], width: int) -> Text:
    """Return the memory in use, the parts of the plan, and their sum, each as a bar over the whole cap."""
    plan, cap = verdict.plan, verdict.cap
    context = f"kv {tokens(plan.context)}{f' x{plan.slots}' if plan.slots > 1 else ''}"
    rows = (
        ("in use", 0, used, "muted", ""),
        ("weights", used, plan.weights.bytes, "model-1", "+"),
        (context, used + plan.weights.bytes, plan.cache.bytes, "model-2", "+"),
        ("scratch", used + plan.weights.bytes + plan.cache.bytes, plan.scratch.bytes, "model-3", "+"),
        ("after load", 0, used + plan.bytes, "foreground", ""),
    )
    whole = max(cap, used + plan.bytes, 1)
    cells = max(6, width - LABEL_CELLS - FIGURE_CELLS)
    text = Text(no_wrap=True, overflow="crop")
    words, color = OUTCOMES[verdict.outcome]
    text.append(f"{words}", colors[color]).append(f", cap {size(cap)}\n", colors["muted"])
    for label, before, count, part, sign in rows:
        first = round(before / whole * cells)
        filled = max(1 if count else 0, round((before + count) / whole * cells) - first)
        first = min(first, cells - filled)
        text.append(f"{label:<{LABEL_CELLS}}", colors["muted"])
        text.append("░" * first, colors["faint"]).append("█" * filled, colors[part])
        text.append("░" * (cells - first - filled), colors["faint"])
        text.append(f"{sign + gigabytes(count):>{FIGURE_CELLS}}\n", "bold" if not sign and label != "in use" else "")
    if verdict.error is not None and verdict.error.hint:
        text.append(f"{clean(verdict.error.hint)}\n", colors["muted"])
    return text

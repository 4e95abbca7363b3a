"""The memory plan of a model as bars against the cap. Pure."""

from collections.abc import Iterator, Mapping

from rich.text import Text

from lmx_daemon.contract.models import Verdict
from lmx_daemon.contract.units import gigabytes, size, tokens
from lmx_tui.formatting import clean

LABEL_CELLS = 11
FIGURE_CELLS = 8
BASIS_CELLS = 10
ROOMY = 56
"""Width from which the basis of each part is named."""
OUTCOMES = {
    "fits": ("✓ fits", "success"),
    "evicts": ("✓ fits after others are unloaded", "warning"),
    "waits": ("waits until others are idle", "warning"),
    "refused": ("! does not fit", "error"),
}

Bar = tuple[str, int, int, str, str, str]
"""Label, bytes before it, bytes, color, sign and basis of a bar."""


def plan_bars(verdict: Verdict, used: int, colors: Mapping[str, str], width: int, *, freed: int = 0) -> Text:
    """Return the memory in use, the parts of the plan, and their sum, each as a bar over the whole cap.

    `freed` is what other models hold that leave before the load. Wide bars name the basis of each part.
    """
    plan, cap, stays = verdict.plan, verdict.cap, used - freed
    whole = max(cap, used, stays + plan.bytes, 1)
    basis_cells = BASIS_CELLS if width >= ROOMY else 0
    cells = max(6, width - LABEL_CELLS - FIGURE_CELLS - basis_cells)
    text = Text(no_wrap=True, overflow="crop")
    words, color = OUTCOMES[verdict.outcome]
    over = f", over by {size(stays + plan.bytes - cap)}" if stays + plan.bytes > cap else ""
    text.append(words, colors[color]).append(f", cap {size(cap)}{over}\n", colors["muted"])
    for label, before, count, part, sign, basis in _bars(verdict, used, freed):
        first = round(before / whole * cells)
        filled = max(1 if count else 0, round((before + count) / whole * cells) - first)
        first = min(first, cells - filled)
        text.append(f"{label:<{LABEL_CELLS}}", colors["muted"])
        text.append("░" * first, colors["faint"]).append("█" * filled, colors[part])
        text.append("░" * (cells - first - filled), colors["faint"])
        text.append(f"{sign + gigabytes(count):>{FIGURE_CELLS}}", "bold" if label == "after load" else "")
        text.append(f" {basis:<{basis_cells - 1}}" if basis_cells else "", colors["muted"]).append("\n")
    return text


def refusal_hint(verdict: Verdict, colors: Mapping[str, str]) -> Text:
    """Return the hint of a refused load as a line, or nothing."""
    if verdict.error is None or not verdict.error.hint:
        return Text()
    return Text(f"{clean(verdict.error.hint)}\n", colors["muted"])


def _bars(verdict: Verdict, used: int, freed: int) -> Iterator[Bar]:
    plan, stays = verdict.plan, used - freed
    yield "in use", 0, used, "muted", "", ""
    if freed:
        yield "unloaded", stays, freed, "warning", "-", ""
    context = f"kv {tokens(plan.context)}{f' x{plan.slots}' if plan.slots > 1 else ''}"
    yield "weights", stays, plan.weights.bytes, "model-1", "+", plan.weights.basis
    yield context, stays + plan.weights.bytes, plan.cache.bytes, "model-2", "+", plan.cache.basis
    before = stays + plan.weights.bytes + plan.cache.bytes
    yield "scratch", before, plan.scratch.bytes, "model-3", "+", plan.scratch.basis
    yield "after load", 0, stays + plan.bytes, "foreground", "", ""

"""The memory of loaded models by kind: weights, keys and values, prefix cache, other. Pure."""

from collections.abc import Mapping, Sequence

from rich.text import Text

from lmx_daemon.contract.models import Instance
from lmx_daemon.contract.units import gigabytes
from lmx_tui.widgets.logs.inspection import cells
from lmx_tui.widgets.monitor.graph import legend
from lmx_tui.widgets.monitor.requests import memory_parts

KINDS = {
    "weights": ("weights", "█", "memory-high"),
    "values": ("keys and values", "▒", "memory-mid"),
    "cache": ("prefix cache", "░", "memory-low"),
    "other": ("other", "·", "muted"),
}
"""Part of a model's memory -> its name, the character that marks it without colours, its colour."""


def kinds_of(instances: Sequence[Instance]) -> dict[str, int]:
    """Return the bytes of each kind over all models that report their weights; empty if none does."""
    reporting = [memory_parts(instance) for instance in instances if instance.memory.weights]
    sums = {kind: sum(parts[kind] for parts in reporting) for kind in KINDS}
    return {kind: count for kind, count in sums.items() if count}


def kinds_text(instances: Sequence[Instance], colors: Mapping[str, str], width: int) -> Text:
    """Return one bar over the memory of the models with a part for each kind, and its legend; empty without figures."""
    sums = kinds_of(instances)
    text = Text(no_wrap=True, overflow="crop")
    for kind, number in cells({kind: float(count) for kind, count in sums.items()}, width).items():
        text.append(KINDS[kind][1] * number, colors[KINDS[kind][2]])
    parts = [(kind, KINDS[kind][0], gigabytes(count)) for kind, count in sums.items()]
    for row in legend(parts, width):
        text.append("\n")
        for kind, words in row:
            text.append(f"{KINDS[kind][1]} ", colors[KINDS[kind][2]]).append(f"{words}  ")
    return text

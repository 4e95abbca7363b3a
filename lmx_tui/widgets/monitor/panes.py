"""MemoryPane and RatePane: current figures above a graph."""

from collections.abc import Sequence
from statistics import median
from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual.app import ComposeResult

from lmx_daemon.contract.admin.snapshot import Snapshot
from lmx_daemon.contract.models import Instance
from lmx_daemon.contract.units import UNKNOWN, age, gigabytes, timing
from lmx_tui.formatting import percent, rate, short_name
from lmx_tui.widgets.frame.pane import Pane
from lmx_tui.widgets.frame.static_text import StaticText
from lmx_tui.widgets.frame.topbar import used_memory
from lmx_tui.widgets.monitor.graph import BrailleArea, legend, round_top

MODEL_COLORS = ("model-1", "model-2", "model-3", "model-4")


class GraphPane(Pane):
    """Pane with figures, a graph of one series and a legend."""

    TITLE: ClassVar[str]
    COLOR: ClassVar[str]
    """Colour of the graph, as a variable of the theme."""
    DEFAULT_CSS = """
    GraphPane > Static { height: auto; text-wrap: nowrap; }
    """

    def __init__(self, symbols: str, *, id: str | None = None) -> None:
        super().__init__(self.TITLE, id=id, classes="live")
        self._symbols = symbols
        self._shown: tuple[Snapshot, int] | None = None

    def on_resize(self) -> None:
        if self._shown is not None:
            self.draw(*self._shown)

    def compose(self) -> ComposeResult:
        yield StaticText(id="figures")
        yield BrailleArea(self.COLOR, self._symbols)
        yield StaticText(id="legend")

    def show(self, snapshot: Snapshot, window: int) -> None:
        """Draw the last `window` seconds of `snapshot`, and draw them again when the size changes."""
        self._shown = (snapshot, window)
        self.draw(snapshot, window)

    def draw(self, snapshot: Snapshot, window: int) -> None:
        """Draw figures, graph and legend."""
        raise NotImplementedError

    def _color(self, name: str) -> Style:
        return Style.parse(self.app.theme_variables[name])


class MemoryPane(GraphPane):
    """Memory of lmx's processes against the cap."""

    TITLE, COLOR = "Memory", "memory"

    def draw(self, snapshot: Snapshot, window: int) -> None:
        cap, used = snapshot.memory.cap, used_memory(snapshot)
        width = max(10, self.content_size.width)
        self.titled(self.TITLE, f"cap {gigabytes(cap)} GB · {age(window)}")
        figures = Text(no_wrap=True, overflow="crop")
        figures.append(gigabytes(used), "bold").append(
            f" / {gigabytes(cap)} GB  {percent(used / cap if cap else None)}"
        )
        planned = f"  {gigabytes(snapshot.memory.claimed)} planned" if snapshot.memory.claimed else ""
        figures.append(planned if len(figures) + len(planned) <= width else "", self._color("muted")).append("\n")
        figures.append_text(self._stacked(snapshot, cap, used, width))
        self.query_one("#figures", StaticText).show(figures)
        self.query_one("#legend", StaticText).show(self._legend(snapshot.instances, used, width))
        self.query_one(BrailleArea).show(snapshot.series.memory, float(cap or 1), window)

    def _stacked(self, snapshot: Snapshot, cap: int, used: int, width: int) -> Text:
        """Return the cap as one bar: a part for each model, then lmx itself, then free memory."""
        text, drawn = Text(), 0
        for number, instance in enumerate(snapshot.instances):
            cells = round(instance.held / cap * width) if cap else 0
            text.append("█" * cells, self._color(MODEL_COLORS[number % len(MODEL_COLORS)]))
            drawn += cells
        whole = min(width, max(drawn, round(used / cap * width) if cap else 0, 1 if used else 0))
        text.append("█" * (whole - drawn), self._color("muted"))
        return text.append("░" * (width - whole), self._color("faint"))

    def _legend(self, instances: Sequence[Instance], used: int, width: int) -> Text:
        parts = [
            (
                MODEL_COLORS[number % len(MODEL_COLORS)],
                short_name(instance.model),
                gigabytes(instance.held),
            )
            for number, instance in enumerate(instances)
        ]
        rest = used - sum(instance.held for instance in instances)
        parts.append(("muted", "lmx", gigabytes(max(0, rest))))
        text = Text(no_wrap=True, overflow="crop")
        for number, row in enumerate(legend(parts, width)):
            text.append("\n" if number else "")
            for color, words in row:
                text.append("■ ", self._color(color)).append(f"{words}  ")
        return text


class RatePane(GraphPane):
    """Decode speed over time, prefill speed and TTFT."""

    TITLE, COLOR = "Tokens a second", "rate"

    def draw(self, snapshot: Snapshot, window: int) -> None:
        decode = snapshot.series.decode[-window:]
        now = sum(instance.decode_rate for instance in snapshot.instances)
        busy = [value for value in decode if value > 0]
        most = max((*busy, now))  # the samples do not contain the newest value yet
        top = round_top(most)
        self.titled(self.TITLE, f"top {top:.0f} · {age(window)}")
        prefill = sum(instance.prefill_rate for instance in snapshot.instances)
        figures = Text(no_wrap=True, overflow="crop")
        figures.append("now ").append(rate(now), "bold")
        figures.append(f"  p50 {rate(median(busy)) if busy else UNKNOWN}  max {rate(most or None)}\n")
        figures.append(f"prefill {rate(prefill)}", self._color("muted"))
        self.query_one("#figures", StaticText).show(figures)
        self.query_one("#legend", StaticText).show(self._first_tokens(snapshot))
        self.query_one(BrailleArea).show(snapshot.series.decode, top, window)

    def _first_tokens(self, snapshot: Snapshot) -> Text:
        times = [request.first_token for request in snapshot.requests if request.first_token]
        words = f"TTFT p50 {timing(median(times))} of {len(times)}" if times else f"TTFT {UNKNOWN}"
        return Text(words, self._color("muted"), no_wrap=True, overflow="crop")

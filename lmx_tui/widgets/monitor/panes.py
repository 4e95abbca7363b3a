"""MemoryPane and RatePane: current figures above a graph."""

from collections.abc import Sequence
from statistics import median
from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual.app import ComposeResult

from lmx_daemon.contract.admin.history import RequestRecord
from lmx_daemon.contract.admin.snapshot import SERIES_SECONDS, RequestRow, Snapshot
from lmx_daemon.contract.models import Instance
from lmx_daemon.contract.units import UNKNOWN, age, gigabytes, size, timing
from lmx_tui.formatting import percent, rate, short_name
from lmx_tui.widgets.frame.pane import Pane
from lmx_tui.widgets.frame.static_text import StaticText
from lmx_tui.widgets.frame.topbar import used_memory
from lmx_tui.widgets.monitor.axis import axis, marks_of
from lmx_tui.widgets.monitor.graph import BrailleArea, legend, round_top
from lmx_tui.widgets.monitor.memory_kinds import kinds_text
from lmx_tui.widgets.monitor.past import SAMPLES, decode_series, prefill_series

ROWS_FOR_KINDS = 12
"""Height of a memory pane from which the bar of kinds leaves enough room for the graph."""
MODEL_COLORS = ("model-1", "model-2", "model-3", "model-4")


class GraphPane(Pane):
    """Pane with figures, a graph of one series and a legend."""

    TITLE: ClassVar[str]
    COLOR: ClassVar[str]
    """Colour of the graph, as a variable of the theme."""
    RECORDED: ClassVar[int] = SERIES_SECONDS
    """Longest window for which the snapshot has samples."""
    DEFAULT_CSS = """
    GraphPane > Static { height: auto; text-wrap: nowrap; }
    """

    def __init__(self, symbols: str, *, id: str | None = None) -> None:
        super().__init__(self.TITLE, id=id, classes="live")
        self._symbols = symbols
        self._shown: tuple[Snapshot, int] | None = None
        self._records: Sequence[RequestRecord] = ()

    def on_resize(self) -> None:
        if self._shown is not None:
            self.show(*self._shown, self._records)

    def compose(self) -> ComposeResult:
        yield StaticText(id="figures")
        yield BrailleArea(self.COLOR, self._symbols)
        yield StaticText(id="axis")
        yield StaticText(id="legend")

    def show(self, snapshot: Snapshot, window: int, records: Sequence[RequestRecord] = ()) -> None:
        """Draw the last `window` seconds of `snapshot`, and draw them again when the size changes.

        `records` are the requests of a window that is longer than the samples of the snapshot.
        """
        self._records = records
        self._shown = (snapshot, window)
        self.draw(snapshot, window)
        self._draw_axis(snapshot, window)

    def _draw_axis(self, snapshot: Snapshot, window: int) -> None:
        """Draw the events of the window, or hide the row if there are none."""
        marks = marks_of(snapshot, window)
        row = self.query_one("#axis", StaticText)
        row.display = bool(marks)
        width = max(10, self.content_size.width)
        row.show(axis(marks, snapshot.taken_at, window, width, self.app.theme_variables))

    def samples(self, series: Sequence[float], kind: str, window: int) -> tuple[Sequence[float], int]:
        """Return the samples of a window, and their number: of the snapshot, or computed from records."""
        if window <= self.RECORDED:
            return series, window
        assert self._shown is not None
        past = decode_series if kind == "decode" else prefill_series
        return past(self._records, self._shown[0].taken_at, window), SAMPLES

    def first_tokens(self, snapshot: Snapshot) -> list[float]:
        """Return the known times to the first token, of the records if there are any."""
        rows = self._records or snapshot.requests
        return [row.first_token for row in rows if row.first_token]

    def draw(self, snapshot: Snapshot, window: int) -> None:
        """Draw figures, graph and legend."""
        raise NotImplementedError

    def _color(self, name: str) -> Style:
        return Style.parse(self.app.theme_variables[name])


def memory_top(samples: Sequence[int], used: int, cap: int) -> int:
    """Return the top of the graph: round, above all samples, and not above the cap, which may be far away."""
    most = max((*samples, used, 1))
    return min(cap or most, int(round_top(most * 1.1 / 1e6) * 1e6))


class MemoryPane(GraphPane):
    """Memory of lmx's processes against the cap."""

    TITLE, COLOR = "1 Memory", "memory"

    def __init__(self, symbols: str, *, kinds: bool = False, id: str | None = None) -> None:
        """With `kinds`, a high pane has a second bar: weights, keys and values, prefix cache, other."""
        super().__init__(symbols, id=id)
        self._kinds = kinds

    def draw(self, snapshot: Snapshot, window: int) -> None:
        cap, used = snapshot.memory.cap, used_memory(snapshot)
        width = max(10, self.content_size.width)
        window = min(window, self.RECORDED)
        top = memory_top(snapshot.series.memory[-window:], used, cap)
        self.titled(self.TITLE, f"top {size(top)}, cap {size(cap)} · {age(window)}")
        figures = Text(no_wrap=True, overflow="crop")
        figures.append(gigabytes(used), "bold").append(
            f" / {gigabytes(cap)} GB  {percent(used / cap if cap else None)}"
        )
        planned = f"  {gigabytes(snapshot.memory.claimed)} planned" if snapshot.memory.claimed else ""
        figures.append(planned if len(figures) + len(planned) <= width else "", self._color("muted")).append("\n")
        figures.append_text(self._stacked(snapshot, cap, used, width))
        self.query_one("#figures", StaticText).show(figures)
        words = self._legend(snapshot.instances, used, width)
        if self._kinds and self.content_size.height >= ROWS_FOR_KINDS:
            kinds = kinds_text(snapshot.instances, self.app.theme_variables, width)
            words = Text("\n").join([words, kinds]) if kinds else words
        self.query_one("#legend", StaticText).show(words)
        self.query_one(BrailleArea).show(snapshot.series.memory, float(top or 1), window)

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


def answer_rates(requests: Sequence[RequestRow] | Sequence[RequestRecord]) -> list[float]:
    """Return the decode rate of each answer that has at least two tokens."""
    return [one.rate for one in requests if one.first_token is not None and one.completion_tokens > 1 and one.rate]


class RatePane(GraphPane):
    """Throughput now and over time, the decode rates of single answers, prefill speed and TTFT."""

    TITLE, COLOR = "2 Tokens a second", "rate"

    def draw(self, snapshot: Snapshot, window: int) -> None:
        series, shown = self.samples(snapshot.series.decode, "decode", window)
        decode = series[-shown:]
        now = sum(instance.decode_rate for instance in snapshot.instances)
        top = round_top(max((*decode, now)))  # the samples do not contain the newest value yet
        self.titled(self.TITLE, f"top {top:.0f} · {age(window)}")
        prefill = sum(instance.prefill_rate for instance in snapshot.instances)
        figures = Text(no_wrap=True, overflow="crop")
        figures.append("now ").append(rate(now), "bold")
        answers = answer_rates(self._records or snapshot.requests)
        figures.append(f"  p50 {rate(median(answers) if answers else None)}  max {rate(max(answers, default=None))}\n")
        figures.append(f"prefill {rate(prefill)}", self._color("muted"))
        self.query_one("#figures", StaticText).show(figures)
        self.query_one("#legend", StaticText).show(self._first_tokens(snapshot))
        self.query_one(BrailleArea).show(series, top, shown)

    def _first_tokens(self, snapshot: Snapshot) -> Text:
        times = self.first_tokens(snapshot)
        words = f"TTFT p50 {timing(median(times))} of {len(times)}" if times else f"TTFT {UNKNOWN}"
        return Text(words, self._color("muted"), no_wrap=True, overflow="crop")

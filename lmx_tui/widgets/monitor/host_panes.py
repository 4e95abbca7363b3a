"""PrefillPane and HostPane: prompts computed a second with the time to the first token, and the machine's CPU."""

from rich.text import Text

from lmx_daemon.contract.admin.snapshot import Snapshot
from lmx_daemon.contract.units import UNKNOWN, age, size, timing
from lmx_tui.formatting import percent, rate
from lmx_tui.widgets.frame.static_text import StaticText
from lmx_tui.widgets.monitor.graph import BrailleArea, round_top
from lmx_tui.widgets.monitor.panes import GraphPane
from lmx_tui.widgets.monitor.past import percentiles


class PrefillPane(GraphPane):
    """Prefill speed over time, and the time to the first token."""

    TITLE, COLOR = "3 Prefill", "memory"

    def draw(self, snapshot: Snapshot, window: int) -> None:
        samples, shown = self.samples(snapshot.series.prefill, "prefill", window)
        now = sum(instance.prefill_rate for instance in snapshot.instances)
        top = round_top(max((*samples[-shown:], now)))
        self.titled(self.TITLE, f"top {rate(top)} · {age(window)}")
        figures = Text(no_wrap=True, overflow="crop")
        figures.append("now ").append(rate(now), "bold").append(" tok/s\n")
        found = percentiles(self.first_tokens(snapshot))
        words = f"TTFT p50 {timing(found[0])} p95 {timing(found[1])}" if found else f"TTFT {UNKNOWN}"
        figures.append(words, self._color("muted"))
        self.query_one("#figures", StaticText).show(figures)
        self.query_one(BrailleArea).show(samples, top, shown)


class HostPane(GraphPane):
    """The machine's CPU, the prefix cache and the batch."""

    TITLE, COLOR = "4 Machine", "rate"

    def draw(self, snapshot: Snapshot, window: int) -> None:
        cpu = snapshot.series.cpu
        self.titled(self.TITLE, f"CPU, top 100% · {age(min(window, self.RECORDED))}")
        figures = Text(no_wrap=True, overflow="crop")
        figures.append("CPU ").append(percent(cpu[-1] / 100) if cpu else UNKNOWN, "bold")
        if snapshot.memory.pressure != "normal":
            figures.append(f"  memory pressure {snapshot.memory.pressure}", self._color("warning"))
        prompts = [row for row in snapshot.requests if row.prompt_tokens and row.cached_tokens is not None]
        whole = sum(row.prompt_tokens or 0 for row in prompts)
        hit = percent(sum(row.cached_tokens or 0 for row in prompts) / whole) if whole else UNKNOWN
        kept = size(sum(instance.memory.prefix_cache for instance in snapshot.instances))
        figures.append(f"\ncache hit {hit}, {kept} kept", self._color("muted"))
        self.query_one("#figures", StaticText).show(figures)
        self.query_one(BrailleArea).show(cpu, 100.0, min(window, self.RECORDED))

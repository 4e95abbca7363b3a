"""Bar charts of tokens per second: lines of text for a terminal, and an SVG for a page."""

from collections.abc import Sequence
from xml.sax.saxutils import escape

from lmx_daemon.storage.benchmark import MeasuredTest, Report

EIGHTHS = " ▏▎▍▌▋▊▉"
COLORS = ("#e8590c", "#1c7ed6", "#868e96", "#2f9e44", "#9c36b5")
GREY = "#868e96"
FONT = 'font-family="system-ui, sans-serif"'


def bars(report: Report, width: int = 40) -> list[str]:
    """Return a chart with one bar for each server of each test in the sweep. A single bar yields no lines."""
    tests = rated(report.tests)
    rates = {(test.name, o.server): o.median.rate or 0.0 for test in tests for o in test.outcomes}
    if len(rates) < 2:
        return []
    highest, names = max(rates.values()), max(len(target.name) for target in report.targets)
    found = []
    for test in tests:
        found.append(test.name)
        for outcome in test.outcomes:
            value = rates[test.name, outcome.server]
            found.append(f"  {outcome.server:<{names}} {bar(value / highest * width):<{width}} {value:8.1f} tok/s")
    return found


def bar(length: float) -> str:
    whole, rest = divmod(round(length * 8), 8)
    return "█" * whole + (EIGHTHS[rest] if rest else "")


def rated(tests: Sequence[MeasuredTest]) -> list[MeasuredTest]:
    """Return the tests of the sweep, the workload whose result is the rate."""
    return [test for test in tests if test.workload == "sweep"]


def svg(title: str, tests: Sequence[MeasuredTest], labels: Sequence[str] | None = None) -> str:
    """Return an SVG with one group of bars for each test and one colour for each server.

    `labels` are the names below the groups, by default the names of the tests.
    """
    servers = list(dict.fromkeys(outcome.server for test in tests for outcome in test.outcomes))
    rates = {(test.name, o.server): o.median.rate or 0.0 for test in tests for o in test.outcomes}
    highest = max(rates.values(), default=0.0) or 1.0
    left, top, height, thick, space = 16, 64, 220, 34, 28
    group = thick * len(servers) + space
    wide = max(left * 2 + group * len(tests), left * 2 + 150 * len(servers), 420)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{top + height + 44}" {FONT} fill="{GREY}">',
        f'<text x="{left}" y="24" font-size="15">{escape(title)}</text>',
    ]
    for index, server in enumerate(servers):
        x = left + index * 150
        parts.append(f'<rect x="{x}" y="36" width="11" height="11" fill="{COLORS[index % len(COLORS)]}"/>')
        parts.append(f'<text x="{x + 17}" y="46" font-size="12">{escape(server)}</text>')
    for position, test in enumerate(tests):
        begin = left + position * group
        for index, server in enumerate(servers):
            value = rates.get((test.name, server), 0.0)
            tall = value / highest * (height - 20)
            x, y = begin + index * thick, top + height - tall
            color = COLORS[index % len(COLORS)]
            parts.append(f'<rect x="{x}" y="{y:.1f}" width="{thick - 4}" height="{tall:.1f}" rx="2" fill="{color}"/>')
            middle = x + (thick - 4) / 2
            parts.append(f'<text x="{middle}" y="{y - 4:.1f}" font-size="10" text-anchor="middle">{value:.0f}</text>')
        middle = begin + (group - space) / 2
        label = escape(labels[position] if labels else test.name)
        parts.append(f'<text x="{middle}" y="{top + height + 18}" font-size="12" text-anchor="middle">{label}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"

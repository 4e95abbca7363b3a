"""Rendering of docs/benchmark.md from the parts that scripts/bench.py keeps."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from lmx_cli.bench import plot
from lmx_cli.bench.figures import Metric, first_token, gap, rate, ratio
from lmx_cli.bench.report import cells
from lmx_cli.bench.run import this_machine
from lmx_daemon.contract.units import latency
from lmx_daemon.storage.benchmark import ClientMachine, MeasuredTest, Measurement, Report, ServerResult

OURS, LM, VLM, DIRECT = "lmx", "mlx_lm.server", "mlx_vlm.server", "in process"
BUSY = 0.2
"""Share of the processor used by other programs from which on the page carries a warning."""
OF_DIALECTS = "## Dialects, tools, constraints and turns"
SERVERS = (OURS, LM, VLM, DIRECT)
HEAD = """\
# Benchmark

A comparison of lmx with the servers of mlx-lm and mlx-vlm. `make bench` measures all of them on one machine and
renders this page.

The two models have random weights (Qwen3 architecture, fp32). The tiny model has 4.2 M parameters, so that the
overhead of a server dominates. The small model has 27 M and shows how long prompts and running streams share the
machine. The client runs on the same machine as the servers. After a warm-up, the servers get the same requests in turn,
round by round. Figures are medians over the rounds. Ratios are medians of the ratios of the rounds.
"""
ON_A_CPU = """\
MLX computes on the CPU here, and OpenBLAS (one thread) is preloaded for every server. Absolute figures do not carry
over to other machines, least of all to Apple silicon. Ratios carry over better.
"""
WORDS = """\
TTFT is the time until the client receives the first piece of text. A gap is the time between two pieces of a stream.
When a long prompt arrives while other streams run, only their gaps until the first pieces of the late requests count.
*In process* is mlx-lm's `BatchGenerator` (and its loader and cache) without a server: no HTTP, no tokenizer, no text.
Loading is compared with `mlx_lm.load`. Both run in a process that has imported the libraries and loaded no model.
The servers run with their default options. Only lmx receives seeds, because mlx_lm.server does not batch requests that
have one.
"""


MEMORY = "- memory is the highest resident memory of the server's processes; that of lmx includes its warm spare"


class BenchmarkPart(msgspec.Struct, frozen=True, kw_only=True):
    """Results of one part of the benchmark."""

    report: Report | None = None
    figures: dict[str, float] = {}
    taken_at: float = 0.0
    rounds: int = 0
    busy: float = 0.0
    """Share of the processor, 0..1, that other programs used just before the part started."""
    commit: str = ""
    machine: ClientMachine | None = None


def keep(folder: Path, name: str, part: BenchmarkPart) -> None:
    folder.mkdir(exist_ok=True)
    head = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    part = msgspec.structs.replace(part, taken_at=time.time(), commit=head.stdout.strip(), machine=this_machine())
    temporary = folder / f".{name}.part"
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(part), indent=1))
    os.replace(temporary, folder / f"{name}.json")


def write(folder: Path, docs: Path) -> str:
    """Write the page and its picture, and return the table for the terminal."""
    parts = {
        path.stem: msgspec.json.decode(path.read_bytes(), type=BenchmarkPart) for path in sorted(folder.glob("*.json"))
    }
    rows = table(parts)
    backends = {t.backend for part in parts.values() if part.report is not None for t in part.report.targets}
    on_a_cpu = any("OpenBLAS" in backend for backend in backends)
    page = [HEAD, *([ON_A_CPU] if on_a_cpu else []), WORDS, *rows, ""]
    if "throughput" in parts and (report := parts["throughput"].report) is not None:
        tests = plot.rated(report.tests)
        labels = [f"{test.streams} at once" if test.streams > 1 else "1 alone" for test in tests]
        (docs / "pictures").mkdir(parents=True, exist_ok=True)
        (docs / "pictures" / "benchmark.svg").write_text(plot.svg("tokens per second, tiny model", tests, labels))
        page += ["![tokens per second, by streams and server](pictures/benchmark.svg)", ""]
    for title, names in (("tiny (4.2 M)", ("throughput", "mixed")), ("small (27 M)", ("long", "prefix"))):
        tests = tests_of(parts, *names)
        if tests:
            page += [f"## All figures: {title}", "", *everything(tests), ""]
    if "start" in parts:
        page += ["## Starting", "", "| | median |", "|---|---|"]
        page += [f"| {name} | {plain(name, value)} |" for name, value in parts["start"].figures.items()]
        page.append("")
    page += [*kept_section(docs / "benchmark.md"), *where(parts)]
    (docs / "benchmark.md").write_text("\n".join(page).rstrip() + "\n")
    return "\n".join(rows)


def kept_section(page: Path) -> list[str]:
    """Return the section of the page that bench_dialects.py writes, as it is."""
    _, found, rest = page.read_text().partition(f"\n{OF_DIALECTS}\n") if page.exists() else ("", "", "")
    return [OF_DIALECTS, *rest.partition("\n## ")[0].splitlines(), ""] if found else []


def plain(name: str, value: float) -> str:
    return f"{value:.0f} MB" if "megabytes" in name else latency(value)


# ---- the table in front --------------------------------------------------------------------------------------------


def table(parts: dict[str, BenchmarkPart]) -> list[str]:
    rows = [("", *SERVERS, "lmx / best server"), ("---",) * 6]
    rows += throughput(tests_of(parts, "throughput", "mixed"))
    rows += interference(tests_of(parts, "long"))
    for test in tests_of(parts, "prefix"):
        rows.append(row(test, f"TTFT p50, {test.name}, small", first_token("p50"), latency, better=min))
    if "restart" in parts:
        rows += lifetimes(parts["restart"].figures)
    return ["| " + " | ".join(cells_of) + " |" for cells_of in rows]


def tests_of(parts: dict[str, BenchmarkPart], *names: str) -> list[MeasuredTest]:
    reports = [parts[name].report for name in names if name in parts]
    return [test for report in reports if report is not None for test in report.tests]


def throughput(tests: list[MeasuredTest]) -> list[tuple[str, ...]]:
    rows = []
    for test in tests:
        if test.workload in ("sweep", "sampled"):
            rows.append(row(test, f"tok/s, {test.name}, tiny", rate, lambda value: f"{value:.0f}", better=max))
        elif test.workload == "arrivals":
            rows.append(row(test, f"TTFT p50, {test.name}, tiny", first_token("p50"), latency, better=min))
            rows.append(row(test, f"TTFT longest, {test.name}, tiny", first_token("longest"), latency, better=min))
    pair = [test for test in tests if test.workload == "sampled"]
    if len(pair) == 2:
        greedy, sampled = ({o.server: o for o in test.outcomes} for test in pair)
        shares = [ratio(sampled[name], greedy[name], rate) if name in greedy else None for name in SERVERS]
        shown = ["-" if share is None else f"{share:.2f}" for share in shares]
        rows.append(("tok/s, temperature 0.7 over the same server's greedy, tiny", *shown, "-"))
    return rows


def interference(tests: list[MeasuredTest]) -> list[tuple[str, ...]]:
    rows = []
    for test in tests:
        if test.name.endswith(": the streams"):
            rows.append(row(test, f"gap p99, {test.name}, small", gap("p99"), latency, better=min))
            rows.append(row(test, f"gap longest, {test.name}, small", gap("longest"), latency, better=min))
        elif " into " in test.name:
            rows.append(row(test, f"TTFT, {test.name}, small", first_token("p50"), latency, better=min))
    return rows


def lifetimes(figures: dict[str, float]) -> list[tuple[str, ...]]:
    """Return the rows for features of lmx alone and for comparisons with a library function instead of a server."""
    rows = []
    for name in ("second turn, 1500 tokens: before", "second turn, 1500 tokens: after a restart"):
        if name in figures:
            rows.append((f"TTFT, {name}, small", latency(figures[name]), "-", "-", "-", "-"))
    if "load, ratio" in figures:
        ours, bare = latency(figures["load, spare warm"]), latency(figures["load, mlx_lm.load in process"])
        compared = f"{figures['load, ratio']:.2f} of mlx_lm.load"
        rows.append(("loading, spare warm, without its warm-up, small", ours, "-", "-", bare, compared))
    if "bytes" in figures:
        name = "bytes of keys and values, over what the tokens need: a row of 4096 with 31 of 64, small"
        rows.append((name, f"{figures['bytes']:.2f}", "-", "-", f"{figures['bytes, mlx-lm']:.1f}", "-"))
    if "lookup" in figures:
        ours, bare = figures["lookup"], figures["lookup, mlx-lm"]
        name = "look-up in a stored prefix of 40,000 tokens that is left after 1,000"
        rows.append((name, latency(ours), "-", "-", latency(bare), f"{ours / bare:.4f} of mlx-lm's"))
    return rows


def row(
    test: MeasuredTest,
    name: str,
    figure: Metric,
    show: Callable[[float], str],
    *,
    better: Callable[..., tuple[float, ServerResult]],
) -> tuple[str, ...]:
    """Return one row: the median of each server, and the ratio of lmx to the best other server."""
    by_name = {outcome.server: outcome for outcome in test.outcomes}
    shown = []
    for server in SERVERS:
        value = figure(by_name[server].median) if server in by_name else None
        failed = by_name[server].median.errors if server in by_name else 0
        shown.append("-" if value is None else show(value) + (f" ({failed} failed)" if failed else ""))
    others = [(figure(by_name[name].median), by_name[name]) for name in (LM, VLM) if name in by_name]
    known = [(value, outcome) for value, outcome in others if value is not None]
    if OURS not in by_name or not known:
        return (name, *shown, "-")
    _, best = better(known, key=lambda pair: pair[0])
    found = ratio(by_name[OURS], best, figure)
    return (name, *shown, "-" if found is None else f"{found:.2f}")


# ---- the rest ------------------------------------------------------------------------------------------------------

COLUMNS = ("tok/s", "TTFT p50", "p95", "p99", "gap p50", "p95", "p99", "longest", "failed", "memory")


def everything(tests: list[MeasuredTest]) -> list[str]:
    rows = ["| | | " + " | ".join(COLUMNS) + " |", "|" + "---|" * (len(COLUMNS) + 2)]
    for test in tests:
        for position, outcome in enumerate(test.outcomes):
            values = [*cells(outcome.median, len(outcome.rounds)), memory(outcome.median)]
            rows.append(f"| {'' if position else test.name} | {outcome.server} | " + " | ".join(values) + " |")
    return rows


def memory(measured: Measurement) -> str:
    return "-" if measured.memory is None else f"{measured.memory / 1e6:.0f} MB"


def rounds_of(part: BenchmarkPart) -> str:
    counts = sorted({len(o.rounds) for test in (part.report.tests if part.report else ()) for o in test.outcomes})
    return str(part.rounds) if not counts else str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def busy(part: BenchmarkPart) -> str:
    """Return a warning if other programs used much of the processor."""
    if part.busy < BUSY:
        return ""
    return f"; **other programs used {part.busy:.0%} of the processor: only ratios count**"


def where(parts: dict[str, BenchmarkPart]) -> list[str]:
    """Return the lines with machine, versions and dates."""
    found = ["## Where and when", ""]
    machines = {part.machine for part in parts.values() if part.machine is not None}
    for machine in machines:
        found.append(
            f"- {machine.processor}, {machine.cores} cores, {machine.memory / 1e9:.0f} GB, {machine.system},"
            f" Python {machine.python}"
        )
    versions: dict[str, str] = {}
    for part in parts.values():
        for target in part.report.targets if part.report is not None else ():
            known = ", ".join(f"{name} {version}" for name, version in target.versions.items())
            versions[target.name] = " · ".join(x for x in (target.software, known, target.backend) if x)
    found += [f"- {name}: {version}" for name, version in versions.items()]
    for name, part in parts.items():
        day = time.strftime("%Y-%m-%d", time.gmtime(part.taken_at))
        found.append(f"- part `{name}`: {day}, {rounds_of(part)} rounds, commit {part.commit}{busy(part)}")
    found.append(MEMORY)
    return found

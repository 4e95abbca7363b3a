"""Cost of the dialects, of tools, of constraints and of an agent's next turn, and the section of docs/benchmark.md.

    LD_PRELOAD=libopenblas.so.0 OPENBLAS_NUM_THREADS=1 python scripts/bench_dialects.py [ROW ...] [--rounds N] [--write]

Rows: dialects lists tools masks rows turn; all by default. The sides of each ratio are measured in turn, round by
round, in one run against one real daemon. With --write, the section of the page is replaced.
"""

import argparse
import asyncio
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

import bench_grammar
import bench_lists
import bench_models
import bench_page
import bench_tools
import lean_client
import peers
import psutil
import tool_lists

from lmx_cli.bench.prompts import words
from lmx_cli.bench.run import this_machine

STREAMS, PROMPT, ANSWER = 32, 40, 128
"""Streams at once, words of each prompt, and tokens of each answer."""
CONTEXT, NEW = 1200, 200
"""Words of an agent's conversation, and of the tool's result that its next turn adds."""

Row = tuple[str, str, str]
"""What is measured, the figure, and the goal."""


class Setting:
    """The daemon under test with its model loaded, and mlx-lm in process beside it."""

    def __init__(self, cache: Path, model: str) -> None:
        self.cache, self.model = cache, f"bench/{model}"
        self.files = bench_models.build(model, cache)
        self.ours = peers.LmxServer(cache)

    def __enter__(self) -> "Setting":
        self.ours.__enter__()
        self.ours.server(self.model)
        process = self.ours.daemon.process
        assert process is not None
        self.daemon = psutil.Process(process.pid)
        self.client = lean_client.LeanClient(self.ours.daemon.address, self.ours.daemon.home / "lmx.sock", self.model)
        return self

    def __exit__(self, *exc: object) -> None:
        self.ours.__exit__(*exc)

    def cpu(self) -> float:
        """Return the seconds of processor time that the daemon has used."""
        used = self.daemon.cpu_times()
        return float(used.user + used.system)

    def cpu_of_all(self) -> float:
        """Return the seconds of processor time that the daemon and its processes have used."""
        used = [process.cpu_times() for process in (self.daemon, *self.daemon.children(recursive=True))]
        return sum(float(each.user + each.system) for each in used)


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def ratio(ones: Sequence[float], others: Sequence[float]) -> float:
    """Return the median of the ratios of the rounds."""
    return statistics.median(one / other for one, other in zip(ones, others, strict=True))


# ---- 32 streams ----------------------------------------------------------------------------------------------------


async def burst(setting: Setting, form: str, key: str) -> tuple[float, float]:
    """Return tokens per second of STREAMS answers at once, and the daemon's microseconds for each token."""
    bodies = [setting.client.body(form, words(PROMPT, f"{key} {index}"), ANSWER) for index in range(STREAMS)]
    begun, cpu = time.perf_counter(), setting.cpu()
    await asyncio.gather(*(setting.client.whole(form, body) for body in bodies))
    tokens = STREAMS * ANSWER
    return tokens / (time.perf_counter() - begun), 1e6 * (setting.cpu() - cpu) / tokens


async def bursts(setting: Setting, forms: Sequence[str], rounds: int) -> dict[str, list[tuple[float, float]]]:
    found: dict[str, list[tuple[float, float]]] = {form: [] for form in forms}
    for number in range(-1, rounds):
        for form in forms if number % 2 else reversed(forms):
            figures = await burst(setting, form, f"{number} {form}")
            if number >= 0:
                found[form].append(figures)
    return found


def dialects(cache: Path, rounds: int) -> list[Row]:
    """Compare streams of each dialect, and constrained streams, with the events of the admin socket."""
    forms = list(lean_client.FORMS)
    with Setting(cache, "tiny") as setting:
        found = asyncio.run(bursts(setting, forms, rounds))
    rates = {form: [rate for rate, _ in figures] for form, figures in found.items()}
    costs = {form: median([cost for _, cost in figures]) for form, figures in found.items()}
    plain = f"{median(rates['admin']):.0f} tok/s, {costs['admin']:.0f} µs of the daemon for each token"
    rows: list[Row] = [(f"{STREAMS} streams: /admin/generate", plain, "-")]
    for form in forms:
        if form not in ("admin", "constrained"):
            shown = f"{ratio(rates[form], rates['admin']):.3f} of that, {costs[form]:.0f} µs"
            rows.append((f"{STREAMS} streams: {form}", shown, "≥ 0.95"))
    shown = f"{ratio(rates['constrained'], rates['chat completions']):.3f} of free ones"
    return [*rows, (f"{STREAMS} streams with a JSON schema, vocabulary of 4096", shown, "≥ 0.90")]


# ---- lists of models -----------------------------------------------------------------------------------------------


def lists(cache: Path, rounds: int) -> list[Row]:
    """Measure lists of models while answers are generated."""
    with Setting(cache, "small") as setting:
        found = asyncio.run(bench_lists.seconds_beside_answers(setting.client, rounds))
    shown = {path: f"{1000 * median(each):.0f} ms, longest {1000 * max(each):.0f} ms" for path, each in found.items()}
    name = f"beside {bench_lists.STREAMS} answers and a prompt of {bench_lists.PREFILL} words"
    return [(f"GET {path} {name}", figure, "≤ 100 ms") for path, figure in shown.items()]


# ---- tools ---------------------------------------------------------------------------------------------------------


def tools(cache: Path, rounds: int) -> list[Row]:
    """Measure what a list of tools adds to the preparation of a prompt, and to the TTFT of a prompt that is stored."""
    with Setting(cache, "tiny") as setting:
        counts = asyncio.run(bench_tools.preparation_times(setting.client, 5 * rounds))
        times = bench_tools.first_token_times(setting.client, setting.files, 5 * rounds, setting.cpu_of_all)
        firsts = asyncio.run(times)
    goals = {"seen": "≤ 10 ms", "new": "≤ 60 ms"}
    size = tool_lists.kilobytes(bench_tools.TOOLS, bench_tools.LONG)
    rows: list[Row] = []
    for kind, goal in goals.items():
        shown = f"{1000 * added(counts[kind], counts['none']):.1f} ms"
        rows.append((f"preparation: {bench_tools.TOOLS} tools ({size}), {kind}, over none", shown, goal))
    listed = f"{bench_tools.TOOLS} tools ({tool_lists.kilobytes(bench_tools.TOOLS, bench_tools.SHORT)})"
    for kind, seconds, goal in (("seen", firsts.seen, goals["seen"]), ("new", firsts.new, goals["new"])):
        shown = f"{1000 * added(seconds, firsts.tokens):.1f} ms over {1000 * median(firsts.tokens):.0f} ms"
        shown += f"; {1000 * firsts.added(kind):.1f} ms of processor time"
        name = f"TTFT: {listed}, {kind}, {firsts.stored} tokens stored, over the same prompt as token ids"
        rows.append((name, shown, goal))
    shown = f"{1000 * added(firsts.seen, firsts.none):.1f} ms"
    return [
        *rows,
        (f"TTFT: {listed}, seen, {firsts.stored} tokens stored, over a short prompt without tools", shown, "-"),
    ]


def added(ones: Sequence[float], others: Sequence[float]) -> float:
    """Return the median of the differences of the rounds."""
    return statistics.median(one - other for one, other in zip(ones, others, strict=True))


# ---- masks and constrained rows ------------------------------------------------------------------------------------


def masks(_: Path, rounds: int) -> list[Row]:
    """Measure a mask in process: computed and applied to the logits."""
    grammar = bench_grammar.compiled(bench_grammar.synthetic_vocabulary())
    rows = []
    for count in (1, 8, STREAMS):
        written, whole = bench_grammar.mask_seconds(grammar, count)
        shown = f"{1000 * whole:.3f} ms, of which its grammar {1000 * written:.3f} ms"
        rows.append((f"mask of a row and step, {count} rows, vocabulary of 65,536", shown, "≤ 0.100 ms"))
    return rows


def constrained_rows(_: Path, rounds: int) -> list[Row]:
    """Compare constrained with free rows in the batch of the engine, at a vocabulary of 65,536 tokens."""
    free, constrained = bench_grammar.rates(rounds)
    shown = f"{ratio(constrained, free):.3f} of {median(free):.0f} tok/s"
    return [(f"{STREAMS} constrained rows over free ones, vocabulary of 65,536", shown, "≥ 0.90")]


# ---- an agent's next turn ------------------------------------------------------------------------------------------


def turn(cache: Path, rounds: int) -> list[Row]:
    """Compare the TTFT of a second turn with the prefill of the same new tokens over the same context in process."""
    ours, bare, new, cached = [], [], 0, 0
    with Setting(cache, "small") as setting, peers.InProcess(setting.files, cache) as direct:
        for number in range(-1, rounds):
            seconds, prompt, cached = asyncio.run(second_turn(setting, f"turn {number}"))
            new = prompt - cached
            own = float(direct.call("turn", cached, new))
            if number >= 0:
                ours.append(seconds)
                bare.append(own)
    shown = f"{ratio(ours, bare):.2f} of {1000 * median(bare):.0f} ms in process"
    return [(f"TTFT of a second turn, {new} tokens after {cached} stored ones, small model", shown, "≤ 1.10")]


async def second_turn(setting: Setting, key: str) -> tuple[float, int, int]:
    """Return the TTFT of the second turn of a conversation, its prompt's tokens and those that were stored."""
    first = [
        {"role": "system", "content": words(CONTEXT, f"{key} system")},
        {"role": "user", "content": words(20, f"{key} user")},
    ]
    answer = await setting.client.timed(first, 16)
    turns = [
        *first,
        {"role": "assistant", "content": "".join(answer.text)},
        {"role": "user", "content": words(NEW, key)},
    ]
    again = await setting.client.timed(turns, 2)
    return again.pieces[0] - again.sent, again.prompt_tokens, again.cached_tokens


ROWS: dict[str, Callable[[Path, int], list[Row]]] = {
    "dialects": dialects,
    "lists": lists,
    "tools": tools,
    "masks": masks,
    "rows": constrained_rows,
    "turn": turn,
}


def section(rows: Sequence[Row], rounds: int) -> str:
    """Return the section of the page."""
    machine = this_machine()
    about = (
        f"{time.strftime('%Y-%m-%d')}, {machine.processor}, {machine.cores} cores, MLX on the CPU with OpenBLAS, "
        f"medians of {rounds} rounds, by scripts/bench_dialects.py. The sides of a ratio take turns in one run, and the"
        " client shares the machine. Preparation is the time of a token count over HTTP: translation, template and"
        " tokens, without prefill. The vocabulary of the models has no tokens for JSON: the tools are far more tokens"
        " than for a real model, and the TTFT holds attention over all of them. A mask is computed and applied to the"
        " logits; its figure is processor time."
    )
    table = ["| measured | figure | goal |", "|---|---|---|"]
    return (
        "\n".join([bench_page.OF_DIALECTS, "", about, "", *table, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"
    )


def write(text: str, page: Path) -> None:
    """Replace the section of the page, or insert it before the last one."""
    old = page.read_text()
    begin = old.find(bench_page.OF_DIALECTS)
    if begin < 0:
        begin = end = old.rindex("\n## ") + 1
    else:
        end = old.find("\n## ", begin) + 1
    page.write_text(old[:begin] + text + "\n" + old[end:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", choices=[[], *ROWS])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="replace the section of docs/benchmark.md")
    options = parser.parse_args()
    found: list[Row] = []
    for name in options.rows or ROWS:
        folder = Path(tempfile.mkdtemp(prefix="lmx-bench-", dir="/tmp"))
        try:
            (folder / "hub").mkdir()
            rows = ROWS[name](folder / "hub", options.rounds)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        for row in rows:
            print(" · ".join(row), flush=True)
        found += rows
    if options.write:
        write(section(found, options.rounds), ROOT / "docs" / "benchmark.md")


if __name__ == "__main__":
    main()

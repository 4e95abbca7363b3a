"""`make bench`: comparison of lmx with mlx_lm.server, mlx_vlm.server and mlx-lm in process on this machine.

    python scripts/bench.py [PART ...] [--rounds N]      parts: throughput mixed long prefix restart start; all

Every server gets the same requests in turn, round by round. Ratios carry over to other machines better than absolute
figures. The figures of each part are kept in .benchmark/, and docs/benchmark.md is rendered from all kept parts.
"""

import argparse
import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

import bench_models
import bench_page
import bench_restart
import bench_start
import msgspec
import peers
import psutil

from lmx_cli.bench.figures import RoundResponses
from lmx_cli.bench.run import run
from lmx_cli.bench.server import ServerUnderTest
from lmx_cli.bench.workloads import Interference, Prefix, RequestOptions, Shared, Streams, Workload
from lmx_daemon.storage.benchmark import Report

KEPT = ROOT / ".benchmark"
SEED = 7
GREEDY = RequestOptions(seed=SEED)
SAMPLED = RequestOptions(seed=SEED, temperature=0.7, send_seeds=True)
GREEDY_16 = Streams(16, options=GREEDY, label="16 at once, greedy, in turn with the next")
SAMPLED_16 = Streams(16, options=SAMPLED, label="16 at once, temperature 0.7, a seed for each")
MORE = 3
"""Factor on the number of rounds for a part whose rounds are short and whose ratios are near one."""
PART_SECONDS = 300.0
"""Time limit of one part. A slow or busy machine runs fewer rounds. LMX_BENCH_SECONDS overrides it."""


@dataclass(frozen=True)
class GreedyAndSampled(Workload):
    """Greedy and sampled streams in one round, so that their ratio compares adjacent runs.

    The order alternates, so that the work one leaves behind does not always burden the other.
    """

    greedy: Streams
    sampled: Streams

    @property
    def kind(self) -> str:
        return "sampled"

    @property
    def name(self) -> str:
        return "greedy and sampled"

    @property
    def context(self) -> int:
        return self.greedy.context

    async def round(self, server: ServerUnderTest, key: str) -> list[RoundResponses]:
        order = (self.sampled, self.greedy) if key[-1] in "13579" else (self.greedy, self.sampled)
        samples = [sample for workload in order for sample in await workload.round(server, key)]
        return sorted(samples, key=lambda sample: sample.name)


def progress(text: str) -> None:
    if text:
        print(text, file=sys.stderr, flush=True)


def measure(
    servers: Sequence[ServerUnderTest], workloads: Sequence[Workload], rounds: int, options: RequestOptions
) -> Report:
    seconds = float(os.environ.get("LMX_BENCH_SECONDS", PART_SECONDS))
    return asyncio.run(run(servers, workloads, rounds=rounds, options=options, seconds=seconds, progress=progress))


def with_peers(stack: ExitStack, cache: Path, name: str) -> tuple[peers.LmxServer, list[ServerUnderTest], Path]:
    model = bench_models.build(name, cache)
    ours = stack.enter_context(peers.LmxServer(cache))
    servers = [ours.server(f"bench/{name}")]
    for make in (peers.mlx_lm_server, peers.mlx_vlm_server):
        peer = make(model, cache)
        if peer is not None:
            servers.append(stack.enter_context(peer).server())
    return ours, servers, model


def throughput(cache: Path, rounds: int) -> bench_page.BenchmarkPart:
    """Measure many short streams on the tiny model, where the overhead of the server dominates."""
    with ExitStack() as stack:
        _, servers, model = with_peers(stack, cache, "tiny")
        servers.append(stack.enter_context(peers.InProcess(model, cache)))
        at_once = [peers.StreamsAnywhere(count, options=GREEDY) for count in (1, 4, 16, 32)]
        return bench_page.BenchmarkPart(report=measure(servers, at_once, rounds, GREEDY))


def mixed(cache: Path, rounds: int) -> bench_page.BenchmarkPart:
    """Measure sampling, and requests that arrive one after the other, on the tiny model."""
    with ExitStack() as stack:
        _, servers, _ = with_peers(stack, cache, "tiny")
        workloads = [GreedyAndSampled(GREEDY_16, SAMPLED_16), Streams(16, every=0.05, options=GREEDY)]
        return bench_page.BenchmarkPart(report=measure(servers, workloads, MORE * rounds, SAMPLED))


def long(cache: Path, rounds: int) -> bench_page.BenchmarkPart:
    """Measure long prompts that arrive while other streams run, on the small model."""
    with ExitStack() as stack:
        _, servers, _ = with_peers(stack, cache, "small")
        workloads = [Interference(1500, options=GREEDY), Interference(3000, options=GREEDY)]
        return bench_page.BenchmarkPart(report=measure(servers, workloads, rounds, GREEDY))


def prefix(cache: Path, rounds: int) -> bench_page.BenchmarkPart:
    """Measure how much of a known prefix is reused, on the small model."""
    with ExitStack() as stack:
        _, servers, _ = with_peers(stack, cache, "small")
        workloads = [Prefix(1500, options=GREEDY), Shared(4, 64, 32, prefix_tokens=1000, options=GREEDY)]
        return bench_page.BenchmarkPart(report=measure(servers, workloads, rounds, GREEDY))


PARTS: dict[str, tuple[Callable[[Path, int], bench_page.BenchmarkPart], int]] = {
    "throughput": (throughput, 3),
    "mixed": (mixed, 3),
    "long": (long, 3),
    "prefix": (prefix, 3),
    "restart": (bench_restart.restart, 3),
    "start": (bench_start.start, 7),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--rounds", type=int, help="measured rounds of each part")
    parser.add_argument("--page", action="store_true", help="measure nothing; render the page from the kept parts")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds the stack, which stops the servers
    unknown = sorted(set(options.parts) - set(PARTS))
    if unknown:
        parser.error(f"unknown part: {', '.join(unknown)}; available: {', '.join(PARTS)}")
    for name in [] if options.page else options.parts or PARTS:
        make, rounds = PARTS[name]
        busy = psutil.cpu_percent(interval=3.0) / 100
        folder = Path(tempfile.mkdtemp(prefix="lmx-bench-", dir="/tmp"))
        try:
            (folder / "hub").mkdir()
            part = make(folder / "hub", options.rounds or rounds)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        bench_page.keep(KEPT, name, msgspec.structs.replace(part, rounds=options.rounds or rounds, busy=busy))
    print(bench_page.write(KEPT, ROOT / "docs"))


if __name__ == "__main__":
    main()

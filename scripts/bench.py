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
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

import bench_models
import bench_page
import httpx2
import msgspec
import peers
import psutil

from lmx_cli.bench.figures import RoundResponses
from lmx_cli.bench.prompts import message, words
from lmx_cli.bench.run import run
from lmx_cli.bench.server import ServerUnderTest
from lmx_cli.bench.workloads import Interference, Prefix, RequestOptions, Shared, Streams, Workload, send_and_wait
from lmx_daemon.storage.benchmark import Report
from tests.end_to_end.running import Daemon, wait_until

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
FLUSH_SECONDS = 2.0
"""Seconds in which the prefix cache writes to disk before the daemon is stopped."""


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


def restart(cache: Path, rounds: int) -> bench_page.BenchmarkPart:
    """Measure a second turn after a restart, loading against mlx_lm.load, and look-ups against mlx-lm's cache."""
    model, figures = bench_models.build("small", cache), {}
    with peers.LmxServer(cache) as ours, peers.InProcess(model, cache) as direct:
        firsts, afters = zip(*(asyncio.run(turn_over_a_restart(ours, i)) for i in range(rounds)), strict=True)
        figures["second turn, 1500 tokens: before"] = statistics.median(firsts)
        figures["second turn, 1500 tokens: after a restart"] = statistics.median(afters)
        loads, bare = [], []
        for number in range(rounds + 1):
            wait_for_spare(ours)
            ours.daemon.admin("POST", "/admin/models/unload", {"id": "bench/small"})
            wait_for_spare(ours)
            mine = load_seconds(ours)
            wait_for_spare(ours)  # imports of the spare would compete for a core
            theirs = bare_load_seconds(model, cache)
            if number:
                loads.append(mine)
                bare.append(theirs)
        figures["load, spare warm"] = statistics.median(loads)
        figures["load, mlx_lm.load in process"] = statistics.median(bare)
        figures["load, ratio"] = statistics.median(one / other for one, other in zip(loads, bare, strict=True))
        figures["lookup"], figures["lookup, mlx-lm"] = direct.call("lookup")
        figures["bytes"], figures["bytes, mlx-lm"] = direct.call("bytes")
    return bench_page.BenchmarkPart(figures=figures)


async def turn_over_a_restart(ours: peers.LmxServer, number: int) -> tuple[float, float]:
    """Return the TTFT of a second turn on a prefix of 1500 tokens, before and after a restart of the daemon."""
    server = ours.server("bench/small")
    await server.prepare()
    seconds = []
    for phase in ("before", "after"):
        if phase == "after":
            await asyncio.sleep(FLUSH_SECONDS)
            ours.halt()
            ours.daemon.start()
            server = ours.server("bench/small")
            await server.settle()
        key = f"restart {number} {os.getpid()}"
        system = message("system", words(server.scale.words(1500), key))
        first = [system, message("user", words(12, f"{key} first"))]
        if phase == "before":
            server_scale = server.scale
            response = await send_and_wait(server.request(first, 32, temperature=0.0, seed=None), 600)
            generated = "".join(response.text)
        server.scale = server_scale
        system = message("system", words(server.scale.words(1500), key))
        turn = [system, first[1], message("assistant", generated), message("user", words(12, f"{key} {phase}"))]
        response = await send_and_wait(server.request(turn, 8, temperature=0.0, seed=None), 600)
        assert response.error is None, response.error
        seconds.append(response.pieces[0] - response.sent)
    return seconds[0], seconds[1]


def wait_for_spare(ours: peers.LmxServer) -> None:
    wait_until(lambda: ours.daemon.admin("GET", "/admin/status")["spare"] == "warm", 60, "a warm spare")


def bare_load_seconds(model: Path, cache: Path) -> float:
    """Return the seconds of mlx_lm.load in a process that has imported the libraries and loaded nothing yet.

    A warm spare is in the same state, so that both sides touch their memory for the first time.
    """
    with peers.InProcess(model, cache, loaded=False) as fresh:
        fresh.call("nothing")  # returns when the imports are done
        return float(fresh.call("load"))


def load_seconds(ours: peers.LmxServer) -> float:
    """Return the seconds from the load request to the end of the last stage before the warm-up."""
    transport = httpx2.HTTPTransport(uds=str(ours.daemon.home / "lmx.sock"))
    with httpx2.Client(transport=transport, base_url="http://lmx", timeout=120) as client:
        begun = time.perf_counter()
        with client.stream("POST", "/admin/models/load", json={"model": "bench/small"}) as answer:
            loaded = 0.0
            for line in answer.iter_lines():
                if '"warming up"' in line or '"ready"' in line:
                    loaded = loaded or time.perf_counter() - begun
        return loaded


def start(cache: Path, rounds: int) -> bench_page.BenchmarkPart:
    """Measure how quickly the command line and the daemon respond."""
    daemon = Daemon().start()
    figures = {
        "lmx --version": median_of(lambda: command(["--version"], daemon.env()), rounds),
        "lmx ps": median_of(lambda: command(["ps"], daemon.env()), rounds),
    }
    daemon.stop()
    starts = [start_and_ask() for _ in range(rounds)]
    figures["lmx serve, from exec to /v1/models"] = statistics.median(seconds for seconds, _ in starts)
    figures["its resident megabytes without a model"] = statistics.median(size for _, size in starts) / 1e6
    return bench_page.BenchmarkPart(figures=figures)


def median_of(measured: Callable[[], float], rounds: int) -> float:
    measured()
    return statistics.median(measured() for _ in range(rounds))


def lmx() -> str:
    return str(Path(sys.executable).parent / "lmx")


def command(arguments: list[str], env: dict[str, str]) -> float:
    begun = time.perf_counter()
    subprocess.run([lmx(), *arguments], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begun


def start_and_ask() -> tuple[float, float]:
    """Return the seconds from exec to the first response of /v1/models, and the RSS in bytes without a model."""
    with tempfile.TemporaryDirectory(dir="/tmp") as home:
        (Path(home) / "config.toml").write_text("[engine]\nwarm_spare = false\n")
        port = peers.free_port()
        begun = time.perf_counter()
        process = subprocess.Popen(
            [lmx(), "serve", "--port", str(port)], env=os.environ | {"LMX_HOME": home}, stdout=subprocess.DEVNULL
        )
        with httpx2.Client(trust_env=False) as client:
            while True:
                try:
                    client.get(f"http://127.0.0.1:{port}/v1/models")
                    break
                except httpx2.TransportError:
                    time.sleep(0.005)
        seconds, size = time.perf_counter() - begun, psutil.Process(process.pid).memory_info().rss
        process.terminate()
        process.wait()
        return seconds, float(size)


PARTS: dict[str, tuple[Callable[[Path, int], bench_page.BenchmarkPart], int]] = {
    "throughput": (throughput, 3),
    "mixed": (mixed, 3),
    "long": (long, 3),
    "prefix": (prefix, 3),
    "restart": (restart, 3),
    "start": (start, 7),
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

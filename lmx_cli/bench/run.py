"""A benchmark run: every workload, round by round, on each server in turn, and the report of the results.

In every round the servers get the same requests one after the other, and the order is reversed from round to round, so
that a disturbance of the machine affects all servers alike. Each workload is warmed up first, because servers compile
kernels and allocate memory on first use.
"""

import math
import os
import platform
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from lmx_cli.bench.figures import RoundResponses, measure, median_of
from lmx_cli.bench.server import MemoryWatch, ServerUnderTest
from lmx_cli.bench.workloads import RequestOptions, Workload
from lmx_daemon.contract.errors import LmxError
from lmx_daemon.contract.version import VERSION
from lmx_daemon.storage.benchmark import ClientMachine, MeasuredTest, Measurement, Report, ServerResult

ShowProgress = Callable[[str], None]


@dataclass
class Collected:
    """Measurements of one test so far: the rounds of each server in order, and a sample that describes the test."""

    workload: str
    sample: RoundResponses
    rounds: dict[str, list[Measurement]]


async def run(
    servers: Sequence[ServerUnderTest],
    workloads: Sequence[Workload],
    *,
    rounds: int,
    options: RequestOptions,
    warm: bool = True,
    seconds: float | None = None,
    progress: ShowProgress = lambda _: None,
) -> Report:
    """Run the workloads on the servers and return the report.

    `seconds` is a time limit that the workloads share evenly: a workload starts no further round after its share, and
    runs at least one. Raises LmxError if a server or its model is unavailable at the start. Later errors are counted in
    the report.
    """
    for server in servers:
        progress(f"{server.name}: {server.address.url}")
        await server.prepare()
        server.scale = servers[0].scale  # all servers get the same words
    fitting, notes = fit(servers, workloads)
    tests: list[MeasuredTest] = []
    for workload in fitting:
        until = math.inf if seconds is None else time.monotonic() + seconds / len(fitting)
        if warm:
            await _warm_up(servers, workload, progress)
        tests += await _measured(servers, workload, rounds, until, progress)
    progress("")
    return Report(
        id=f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}",
        taken_at=time.time(),
        version=VERSION,
        machine=this_machine(),
        targets=tuple(server.target() for server in servers),
        tests=tuple(tests),
        rounds=max((len(outcome.rounds) for test in tests for outcome in test.outcomes), default=0),
        seed=options.seed,
        temperature=options.temperature,
        notes=tuple(notes),
    )


def fit(servers: Sequence[ServerUnderTest], workloads: Sequence[Workload]) -> tuple[list[Workload], list[str]]:
    """Return the workloads that fit into the context of every server, and a note for each workload left out."""
    known = [server.context for server in servers if server.context is not None]
    if not known:
        return list(workloads), []
    limit = min(known)
    fitting = [workload for workload in workloads if workload.context <= limit]
    notes = [
        f"left out: {workload.name} (needs a context of {workload.context} tokens, the model has {limit})"
        for workload in workloads
        if workload.context > limit
    ]
    if not fitting:
        raise LmxError(
            f"no workload fits the model's context of {limit} tokens",
            hint="reduce the lengths: --prompt, --answer, --long",
        )
    return fitting, notes


async def _warm_up(servers: Sequence[ServerUnderTest], workload: Workload, progress: ShowProgress) -> None:
    for server in servers:
        progress(f"{workload.name} · warming up · {server.name}")
        await workload.warm_up(server)
        await server.settle()


async def _measured(
    servers: Sequence[ServerUnderTest], workload: Workload, rounds: int, until: float, progress: ShowProgress
) -> list[MeasuredTest]:
    """Run up to `rounds` rounds, at least one, and start none after the monotonic time `until`."""
    collected: dict[str, Collected] = {}
    for number in range(rounds):
        if number and time.monotonic() > until:
            break
        for server in servers if number % 2 == 0 else reversed(servers):
            progress(f"{workload.name} · round {number + 1} of {rounds} · {server.name}")
            await _one_round(server, workload, number, collected)
    return [_test(found) for found in collected.values()]


async def _one_round(server: ServerUnderTest, workload: Workload, number: int, collected: dict[str, Collected]) -> None:
    async with MemoryWatch(server) as watch:
        samples = await workload.round(server, f"round {number}")
    await server.settle()
    for sample in samples:
        entry = collected.setdefault(sample.name, Collected(workload.kind, sample, {}))
        entry.rounds.setdefault(server.name, []).append(measure(sample, watch.highest))


def _test(found: Collected) -> MeasuredTest:
    sample = found.sample
    return MeasuredTest(
        name=sample.name,
        workload=found.workload,
        outcomes=tuple(
            ServerResult(server=name, median=median_of(rounds), rounds=tuple(rounds))
            for name, rounds in found.rounds.items()
        ),
        streams=sample.streams,
        prompt_tokens=sample.prompt_tokens,
        answer_tokens=sample.answer_tokens,
    )


def this_machine() -> ClientMachine:
    return ClientMachine(
        system=f"{platform.system()} {platform.release()}",
        processor=processor(),
        cores=os.cpu_count() or 1,
        memory=psutil.virtual_memory().total,
        python=platform.python_version(),
    )


def processor() -> str:
    """Return the processor's name as the system reports it ("Apple M3 Max"), or its architecture."""
    if sys.platform == "darwin":
        import subprocess

        sysctl = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, timeout=5)
        if sysctl.stdout.strip():
            return sysctl.stdout.strip()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()

"""The part `restart` of the benchmark: a second turn after a restart of the daemon, loading, and look-ups."""

import asyncio
import os
import statistics
import time
from pathlib import Path

import bench_models
import bench_page
import httpx2
import peers

from lmx_cli.bench.prompts import message, words
from lmx_cli.bench.workloads import send_and_wait
from tests.end_to_end.running import wait_until

FLUSH_SECONDS = 2.0
"""Seconds in which the prefix cache writes to disk before the daemon is stopped."""


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

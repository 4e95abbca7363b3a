"""Speed of the daemon itself: start, idle CPU, idle connections, and 1,000 slow streams from a fake worker.

    python scripts/bench_daemon.py [starts] [idle] [connections] [streams]

Without names, all parts run. `streams` runs the real app, scheduler and effects in a process of their own, over a
worker that gives each stream two tokens a second: first with raised limits, where all streams complete, then with the
default limits, where the excess gets status 429. CPU and memory are those of that process. The client runs in this
process and opens one connection for each stream.
"""

import asyncio
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import httpx2
import psutil

sys.path.insert(0, str(Path(__file__).parent.parent))

from slow_server import RATE, TOKENS

from lmx_cli.bench.wire import Address, Exchange
from lmx_daemon.http.server.listeners import bind_public
from tests.end_to_end.running import LMX, Daemon

ROUNDS = 7
IDLE_SECONDS = 30.0
CONNECTIONS = 1000
STREAMS = 1000
BODY = {"model": "fake", "prompt": "x", "max_tokens": TOKENS, "stream": True}
SERVER = Path(__file__).with_name("slow_server.py")


def starts() -> None:
    """Print the times of `lmx ps` and from `lmx serve` to the first answer of /v1/models."""
    daemon = Daemon(config="[engine]\nwarm_spare = false\n").start()
    lmx = [str(Path(sys.executable).parent / "lmx")] if (Path(sys.executable).parent / "lmx").exists() else LMX
    try:
        print(f"lmx ps: {median_of([timed([*lmx, 'ps'], daemon.env()) for _ in range(ROUNDS + 1)][1:])}")
    finally:
        daemon.stop()
    print(f"lmx serve to /v1/models: {median_of([start_and_ask(lmx) for _ in range(ROUNDS + 1)][1:])}")


def timed(command: Sequence[str], env: dict[str, str]) -> float:
    """Return the seconds that a command takes."""
    begun = time.perf_counter()
    subprocess.run(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begun


def start_and_ask(lmx: Sequence[str]) -> float:
    """Return the seconds from the start of `lmx serve` to the first answer of /v1/models."""
    daemon = Daemon()
    port = free_port()
    begun = time.perf_counter()
    process = subprocess.Popen([*lmx, "serve", "--port", str(port)], env=daemon.env(), stdout=subprocess.DEVNULL)
    try:
        with httpx2.Client(trust_env=False) as client:
            while True:
                try:
                    client.get(f"http://127.0.0.1:{port}/v1/models")
                    return time.perf_counter() - begun
                except httpx2.TransportError:
                    time.sleep(0.005)
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    """Return a port that was free a moment ago."""
    (listener, *others) = bind_public("127.0.0.1", 0)
    port: int = listener.getsockname()[1]
    for each in (listener, *others):
        each.close()
    return port


def idle() -> None:
    """Print the share of a core that an idle daemon uses, with its warm spare."""
    daemon = Daemon().start()
    try:
        assert daemon.process is not None
        while daemon.admin("GET", "/admin/status")["spare"] == "starting":
            time.sleep(0.5)
        time.sleep(5)
        before = cpu(daemon.process.pid)
        time.sleep(IDLE_SECONDS)
        after = cpu(daemon.process.pid)
        own, others = (100 * (late - early) / IDLE_SECONDS for early, late in zip(before, after, strict=True))
        print(f"idle CPU over {IDLE_SECONDS:.0f} s: daemon {own:.2f} %, its other processes {others:.2f} % of a core")
    finally:
        daemon.stop()


def cpu(pid: int) -> tuple[float, float]:
    """Return the CPU seconds of a process, and those of its descendants."""
    root = psutil.Process(pid)
    times = [sum(each.cpu_times()[:2]) for each in (root, *root.children(recursive=True))]
    return times[0], sum(times[1:])


def connections() -> None:
    """Print the memory that idle connections take. Each one has had an answer and is kept alive."""
    daemon = Daemon(config="[engine]\nwarm_spare = false\n").start()
    try:
        assert daemon.process is not None
        process = psutil.Process(daemon.process.pid)
        asyncio.run(keep_alive(daemon.address, 50))
        before = process.memory_info().rss
        after = asyncio.run(keep_alive(daemon.address, CONNECTIONS, process))
        print(f"{CONNECTIONS} idle connections: {(after - before) / 1e6:.1f} MB more")
    finally:
        daemon.stop()


async def keep_alive(address: str, count: int, process: psutil.Process | None = None) -> int:
    """Open connections that have had one answer each, and return the memory of the process meanwhile."""
    host, port = address.removeprefix("http://").split(":")
    request = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"

    async def one() -> asyncio.StreamWriter:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.lower().splitlines() if b"content-length" in line)
        await reader.readexactly(length)
        return writer

    writers = await asyncio.gather(*(one() for _ in range(count)))
    size: int = process.memory_info().rss if process else 0
    opened = sum(not writer.is_closing() for writer in writers)
    assert opened == count, f"{opened} of {count} connections are open"
    for writer in writers:
        writer.close()
    return size


def streams() -> None:
    """Print the figures of slow streams with raised and with default limits."""
    for raised in (True, False):
        with ExitStack() as ending:
            command = [sys.executable, SERVER, "raised" if raised else "default"]
            child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            ending.callback(child.wait)
            assert child.stdin is not None and child.stdout is not None
            ending.callback(child.stdin.close)
            url = child.stdout.readline().decode().strip()
            asyncio.run(slow_streams(url, psutil.Process(child.pid), raised))


async def slow_streams(url: str, process: psutil.Process, raised: bool) -> None:
    """Run STREAMS streams at once, and print how they end and what they cost."""
    address = Address(url)
    warm = Exchange(address, "POST", "/completions", BODY | {"max_tokens": 1})
    await warm.send()
    await warm.finished(60)
    size, used = process.memory_info().rss, sum(process.cpu_times()[:2])
    begun = time.perf_counter()
    exchanges = [Exchange(address, "POST", "/completions", BODY) for _ in range(STREAMS)]
    await asyncio.gather(*(each.send() for each in exchanges))
    peak = size
    waiting = asyncio.gather(*(each.finished(120) for each in exchanges))
    while not waiting.done():
        await asyncio.wait([waiting], timeout=0.5)
        peak = max(peak, process.memory_info().rss)
    seconds = time.perf_counter() - begun
    busy = 100 * (sum(process.cpu_times()[:2]) - used) / seconds
    found = waiting.result()
    complete = [each for each in found if each.status == 200 and each.error is None]
    refused = [each.ended - each.sent for each in found if each.status == 429]
    print(f"{STREAMS} streams at {RATE:g} tok/s, {'raised' if raised else 'default'} limits:")
    others = STREAMS - len(complete) - len(refused)
    print(f"  complete: {len(complete)}, refused with 429: {len(refused)}, others: {others}")
    print(f"  {seconds:.1f} s, CPU {busy:.0f} % of a core, {(peak - size) / 1e3 / STREAMS:.0f} kB for each stream")
    if others:
        failed = next(each for each in found if each not in complete and each.status != 429)
        print(f"  first other: {failed.status} {failed.error}")
    first = [each.pieces[0] - each.sent for each in complete if each.pieces]
    print(f"  time to the first token: median {statistics.median(first):.3f} s, longest {max(first):.3f} s")
    if refused:
        print(f"  time to 429: median {statistics.median(refused):.3f} s, longest {max(refused):.3f} s")


def median_of(seconds: Sequence[float]) -> str:
    """Return the median and the range of times."""
    return f"{statistics.median(seconds):.3f} s (from {min(seconds):.3f} to {max(seconds):.3f})"


PARTS = {"starts": starts, "idle": idle, "connections": connections, "streams": streams}


def main() -> None:
    """Run the parts that the command line names."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    load = psutil.getloadavg()
    print(f"load average at the start: {load[0]:.2f}, {load[1]:.2f}, {load[2]:.2f}; {psutil.cpu_count()} CPUs")
    for name in sys.argv[1:] or PARTS:
        PARTS[name]()


if __name__ == "__main__":
    main()

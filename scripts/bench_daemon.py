"""Speed of the daemon itself: start, idle CPU, idle connections, and 1,000 slow streams from a fake worker.

    python scripts/bench_daemon.py [starts] [idle] [connections] [streams]

Without names, all parts run. `streams` runs the real app, scheduler and effects in a process of their own, over a
worker that gives each stream two tokens a second: first with raised limits, where all streams complete, then with the
default limits, where the excess gets status 429. CPU and memory are those of that process. The client runs in this
process and opens one connection for each stream.
"""

import asyncio
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import psutil

sys.path.insert(0, str(Path(__file__).parent.parent))

from lmx_cli.bench.wire import Address, Exchange
from lmx_daemon.contract.events import Delta, Ending, Event, Finished, Started, Usage
from lmx_daemon.contract.models import Model
from lmx_daemon.contract.worker.messages import Cancel, EngineKind, Load, Submit, ToWorker
from lmx_daemon.http.server.connections import ConnectionLimit
from lmx_daemon.http.server.listeners import bind_public, url_of
from lmx_daemon.http.server.open_files import connections_within, raise_limit
from lmx_daemon.http.server.uvicorn_server import UvicornServer
from lmx_daemon.residency.incidents import Incidents
from lmx_daemon.residency.measured import Measurements
from lmx_daemon.residency.pool import Pool
from lmx_daemon.settings.schema import EngineSettings, ServerSettings, Settings
from lmx_daemon.settings.source import SettingsSource
from tests.end_to_end.running import LMX, Daemon
from tests.http.asgi import public_app_over
from tests.residency.fakes import TWO_FIT, FakeMachine, FakeWorker

ROUNDS = 7
IDLE_SECONDS = 30.0
CONNECTIONS = 1000
STREAMS = 1000
TOKENS = 20
RATE = 2.0
"""Tokens a second of each stream."""
BODY = {"model": "fake", "prompt": "x", "max_tokens": TOKENS, "stream": True}
SERVE = "--serve"


# ---- the server with a fake worker, in a process of its own ----


class SlowWorker(FakeWorker):
    """A worker that loads by itself and gives each request RATE tokens a second, TOKENS in all."""

    def __init__(self, pid: int, loop: Any) -> None:
        super().__init__(pid, loop)
        self.given: dict[str, int] = {}
        self._ticking = False

    def send(self, message: ToWorker) -> None:
        """Take a message of the daemon; nothing is kept."""
        loop = asyncio.get_running_loop()
        match message:
            case Load():
                self.sent = [message]
                loop.call_soon(self.load)
            case Submit(request=request):
                self.given[request.id] = 0
                loop.call_soon(self.emit, Started(id=request.id, prompt_tokens=1, cached_tokens=0, seed=1))
                if not self._ticking:
                    self._ticking = True
                    loop.call_later(1 / RATE, self._tick)
            case Cancel(id=name):
                if self.given.pop(name, None) is not None:
                    loop.call_soon(self.emit, Finished(id=name, endings=(Ending(reason="cancelled"),)))

    def _tick(self) -> None:
        """Give each request one token, all in one step as an engine does."""
        events: list[Event] = []
        for name in list(self.given):
            self.given[name] += 1
            events.append(Delta(id=name, content="word ", tokens=1))
            if self.given[name] == TOKENS:
                del self.given[name]
                usage = Usage(prompt_tokens=1, completion_tokens=TOKENS)
                events.append(Finished(id=name, endings=(Ending(reason="length"),), usage=usage))
        if events:
            self.emit(*events)
        self._ticking = bool(self.given)
        if self._ticking:
            asyncio.get_running_loop().call_later(1 / RATE, self._tick)


async def serve(raised: bool) -> None:
    """Serve until standard input ends. The first line of standard output is the URL."""
    raise_limit()
    server = ServerSettings(max_connections=4096, max_queued=2000) if raised else ServerSettings()
    engine = EngineSettings(warm_spare=False, max_running=2000) if raised else EngineSettings(warm_spare=False)
    source = SettingsSource(Settings(server=server, engine=engine))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "fake").mkdir()

        async def start(name: str, kind: EngineKind) -> Any:
            return SlowWorker(1000, pool.background)

        pool = Pool(
            source,
            find=lambda name: Model(id="fake", path=str(folder / "fake"), source="folder"),
            clear=lambda model: False,
            start=start,
            host=FakeMachine(TWO_FIT, folder),  # type: ignore[arg-type]
            measurements=Measurements(folder / "measured.json"),
            prefixes=folder / "prefix",
            incidents=Incidents(lambda name, log: None),
        )
        pool.open()
        sockets = bind_public("127.0.0.1", 0)
        fields = {name: getattr(server, name) for name in server.__struct_fields__}
        app = public_app_over(pool, folder=folder, address=url_of(sockets[0]), **fields)
        limit = ConnectionLimit(lambda: connections_within(server.max_connections))
        running = UvicornServer(app, lambda: 30.0, limit)
        task = asyncio.create_task(running.serve(sockets=sockets))
        print(url_of(sockets[0]), flush=True)
        await asyncio.to_thread(sys.stdin.read)
        running.should_exit = True
        await task
        await pool.close()


# ---- the parts ----


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
            child = subprocess.Popen(
                [sys.executable, __file__, SERVE, json.dumps(raised)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
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
    if sys.argv[1:2] == [SERVE]:
        import uvloop

        uvloop.run(serve(json.loads(sys.argv[2])))
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    load = psutil.getloadavg()
    print(f"load average at the start: {load[0]:.2f}, {load[1]:.2f}, {load[2]:.2f}; {psutil.cpu_count()} CPUs")
    for name in sys.argv[1:] or PARTS:
        PARTS[name]()


if __name__ == "__main__":
    main()

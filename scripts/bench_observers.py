"""Cost of records and metrics at 32 streams: the time of their calls, and the daemon with and without them.

    python scripts/bench_observers.py [pairs]

One daemon answers the same requests in turn with both switched on and with both switched off, in pairs whose order
alternates; the setting is reloaded between the rounds. The figures are the medians of the pairs' ratios: tokens a
second, and CPU time of the daemon and its worker for a token. Answers of the built-in model are short, so that
the cost of a request shows more than with long answers. The share of the calls in the CPU time of a request is the
figure that other programs on the machine influence least.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import psutil

sys.path.insert(0, str(Path(__file__).parent.parent))

from lmx_cli.bench.wire import Address, Exchange
from lmx_daemon.contract.admin.snapshot import RequestRow
from lmx_daemon.contract.generation.events import Timings
from lmx_daemon.contract.generation.requests import Generate, Text
from lmx_daemon.history.history import MAX_WAITING, History
from lmx_daemon.history.store import HistoryStore
from lmx_daemon.monitor.metrics.request_metrics import RequestMetrics
from lmx_daemon.settings.sections.history import HistorySettings
from lmx_daemon.settings.sections.metrics import MetricsSettings
from tests.end_to_end.running import Daemon

STREAMS = 32
REQUESTS = 6
"""Requests that each stream sends one after the other in a round."""
BODY: dict[str, Any] = {
    "model": "lmx/guide",
    "messages": [{"role": "user", "content": "how do I pull a model?"}],
    "max_tokens": 24,
    "stream": True,
    "stream_options": {"include_usage": True},
}
CALLS = MAX_WAITING
ROW = RequestRow(
    id="r",
    model="lmx/guide",
    instance="lmx/guide:1",
    state="finished",
    route="/v1/chat/completions",
    client="bench",
    age=1.0,
    prompt_tokens=20,
    cached_tokens=19,
    completion_tokens=24,
    first_token=0.1,
    timings=Timings(queue=0.05, prefill=0.05, first_token=0.1, decode=0.9),
)


async def stream(address: Address) -> int:
    """Send the requests of one stream, and return the number of its tokens."""
    tokens = 0
    for _ in range(REQUESTS):
        exchange = Exchange(address, "POST", "/chat/completions", BODY)
        await exchange.send()
        response = await exchange.finished(60.0)
        assert response.error is None, response.error
        tokens += response.tokens
    return tokens


class Round(NamedTuple):
    """Figures of one round."""

    rate: float
    """Tokens a second."""
    cpu: float
    """Microseconds of CPU time of the daemon and its workers for a token."""


def cpu_seconds(daemon: Daemon) -> float:
    """Return the CPU time of the daemon and its workers so far."""
    assert daemon.process is not None
    times = [psutil.Process(pid).cpu_times() for pid in (daemon.process.pid, *daemon.worker_pids())]
    return sum(each.user + each.system for each in times)


def measured(daemon: Daemon, address: Address) -> Round:
    """Return the figures of one round."""

    async def streams() -> int:
        return sum(await asyncio.gather(*(stream(address) for _ in range(STREAMS))))

    cpu, begun = cpu_seconds(daemon), time.perf_counter()
    tokens = asyncio.run(streams())
    seconds = time.perf_counter() - begun
    return Round(tokens / seconds, (cpu_seconds(daemon) - cpu) / tokens * 1e6)


def switch(daemon: Daemon, on: bool) -> None:
    """Switch records and metrics on or off in the running daemon."""
    value = str(on).lower()
    (daemon.home / "config.toml").write_text(f"[history]\nenabled = {value}\n[metrics]\nenabled = {value}\n")
    daemon.admin("POST", "/admin/config/reload", {})


def throughput(pairs: int, microseconds: float) -> None:
    """Print the figures of all pairs, and the share of calls that take `microseconds` for each request."""
    daemon = Daemon().start()
    try:
        address = Address(daemon.address)
        measured(daemon, address)
        found: list[tuple[Round, Round]] = []
        for number in range(pairs):
            rounds: dict[bool, Round] = {}
            for on in (True, False) if number % 2 else (False, True):
                switch(daemon, on)
                rounds[on] = measured(daemon, address)
            found.append((rounds[True], rounds[False]))
            texts = (f"{each.rate:7.1f} tok/s {each.cpu:6.1f} us/token" for each in found[-1])
            print("on {}   off {}".format(*texts), flush=True)
        show("tokens a second", [on.rate / off.rate for on, off in found])
        show("CPU time for a token", [on.cpu / off.cpu for on, off in found])
        request = statistics.median(off.cpu for _, off in found) * BODY["max_tokens"]
        print(f"the calls take {microseconds / request:.2%} of the CPU time of a request ({request / 1000:.1f} ms)")
        records = len(daemon.admin("GET", "/admin/history?limit=10000"))
        print(f"{records} records were written")
    finally:
        daemon.stop()


def show(name: str, ratios: list[float]) -> None:
    """Print the median and the quartiles of ratios."""
    low, _, high = statistics.quantiles(ratios)
    print(f"{name}, on / off: median {statistics.median(ratios):.4f}, quartiles {low:.4f} to {high:.4f}")


def calls(name: str, observer: Any) -> float:
    """Print and return the microseconds that the event loop spends in an observer for one request."""
    request = Generate(id="r", model="lmx/guide", prompt=Text(text="x"))
    begun = time.perf_counter()
    for _ in range(CALLS):
        observer.queued(request)
        observer.ended(request, ROW)
    return shown(name, begun)


def shown(name: str, begun: float) -> float:
    """Print and return the microseconds for each of CALLS requests since `begun`."""
    spent = (time.perf_counter() - begun) / CALLS * 1e6
    print(f"{name}: {spent:.2f} us for each request")
    return spent


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = HistoryStore(Path(folder) / "requests.db", HistorySettings)
        history = History(store, HistorySettings, lambda route: "openai_chat")
        spent = calls("records", history)
        begun = time.perf_counter()
        history.write()
        spent += shown("records, in their thread", begun)
        store.close()
    spent += calls("metrics", RequestMetrics(MetricsSettings))
    throughput(int(sys.argv[1]) if len(sys.argv) > 1 else 16, spent)


if __name__ == "__main__":
    main()

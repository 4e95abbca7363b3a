"""Cost of records and metrics: tokens a second at 32 streams with and without them, and the time of their calls.

    python scripts/bench_observers.py [pairs]

One daemon answers the same requests in turn with both switched on and with both switched off, in pairs whose order
alternates; the setting is reloaded between the rounds. The figure is the median of the pairs' ratios. Answers of the
built-in model are short, so that the cost of a request shows more than with long answers.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from lmx_cli.bench.wire import Address, Exchange
from lmx_daemon.contract.admin.snapshot import RequestRow
from lmx_daemon.contract.events import Timings
from lmx_daemon.contract.requests import Generate, Text
from lmx_daemon.history.history import MAX_WAITING, History
from lmx_daemon.history.store import HistoryStore
from lmx_daemon.monitor.metrics.request_metrics import RequestMetrics
from lmx_daemon.settings.sections.history import HistorySettings
from lmx_daemon.settings.sections.metrics import MetricsSettings
from tests.end_to_end.running import Daemon

STREAMS = 32
REQUESTS = 6
"""Requests that each stream sends one after the other in a round."""
BODY = {
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


async def rate(address: Address) -> float:
    """Return the tokens a second of one round."""
    begun = time.perf_counter()
    tokens = sum(await asyncio.gather(*(stream(address) for _ in range(STREAMS))))
    return tokens / (time.perf_counter() - begun)


def switch(daemon: Daemon, on: bool) -> None:
    """Switch records and metrics on or off in the running daemon."""
    value = str(on).lower()
    (daemon.home / "config.toml").write_text(f"[history]\nenabled = {value}\n[metrics]\nenabled = {value}\n")
    daemon.admin("POST", "/admin/config/reload", {})


def throughput(pairs: int) -> None:
    """Print the rates of all pairs, and the median of their ratios."""
    daemon = Daemon().start()
    try:
        address, ratios = Address(daemon.address), []
        asyncio.run(rate(address))
        for number in range(pairs):
            rates: dict[bool, float] = {}
            for on in (True, False) if number % 2 else (False, True):
                switch(daemon, on)
                rates[on] = asyncio.run(rate(address))
            ratios.append(rates[True] / rates[False])
            print(f"on {rates[True]:8.1f} tok/s   off {rates[False]:8.1f} tok/s   {ratios[-1]:.4f}", flush=True)
        low, _, high = statistics.quantiles(ratios)
        print(f"median ratio {statistics.median(ratios):.4f}, quartiles {low:.4f} to {high:.4f}")
        records = len(daemon.admin("GET", "/admin/history?limit=10000"))
        print(f"{records} records were written")
    finally:
        daemon.stop()


def calls(name: str, observer: Any) -> None:
    """Print the time that the event loop spends in an observer for one request."""
    request = Generate(id="r", model="lmx/guide", prompt=Text(text="x"))
    begun = time.perf_counter()
    for _ in range(CALLS):
        observer.queued(request)
        observer.ended(request, ROW)
    print(f"{name}: {(time.perf_counter() - begun) / CALLS * 1e6:.2f} us for each request")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = HistoryStore(Path(folder) / "requests.db", HistorySettings)
        history = History(store, HistorySettings, lambda route: "openai_chat")
        calls("records", history)
        begun = time.perf_counter()
        history.write()
        print(f"records, in their thread: {(time.perf_counter() - begun) / CALLS * 1e6:.2f} us for each request")
        store.close()
    calls("metrics", RequestMetrics(MetricsSettings))
    throughput(int(sys.argv[1]) if len(sys.argv) > 1 else 16)


if __name__ == "__main__":
    main()

"""Stalls of the daemon's event loop, measured by a separate process that polls /health every 20 ms."""

import http.client
import multiprocessing
import time
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Self

EVERY_SECONDS = 0.02
TIMEOUT_SECONDS = 120.0


class Pulse:
    """Context manager; afterwards `median` and `longest` are latencies of /health in seconds."""

    def __init__(self, address: str) -> None:
        self.median = self.longest = 0.0
        self.count = 0
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_poll, args=(address.removeprefix("http://"), theirs), daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        self._ours.recv()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ours.send("stop")
        latencies = sorted(self._ours.recv())
        self._process.join()
        self.count, self.median, self.longest = len(latencies), latencies[len(latencies) // 2], latencies[-1]

    def __str__(self) -> str:
        return f"{self.count} polls, p50 {self.median * 1000:.0f} ms, max {self.longest * 1000:.0f} ms"


def _poll(address: str, pipe: Connection) -> None:
    connection = http.client.HTTPConnection(address, timeout=TIMEOUT_SECONDS)
    latencies: list[float] = []
    pipe.send("ready")
    while not pipe.poll():
        begun = time.monotonic()
        connection.request("GET", "/health")
        connection.getresponse().read()
        latencies.append(time.monotonic() - begun)
        time.sleep(EVERY_SECONDS)
    pipe.recv()
    pipe.send(latencies)

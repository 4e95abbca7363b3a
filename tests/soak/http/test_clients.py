"""Clients that disconnect at random moments from a fixed seed. No request, process or memory may be left."""

import asyncio
import contextlib
import random
import time
from typing import Any

import httpx2
import psutil
import pytest

from tests.end_to_end.running import Daemon, wait_until
from tests.soak.conftest import TALKER

pytestmark = pytest.mark.slow


def live(daemon: Daemon) -> list[Any]:
    rows: list[Any] = daemon.admin("GET", "/admin/requests")
    return rows


def test_disconnected_clients_leave_no_request_process_or_memory(daemon: Daemon) -> None:
    rng = random.Random(1)

    async def send_and_disconnect(client: httpx2.AsyncClient) -> None:
        stream, seconds = rng.random() < 0.7, rng.random() * 0.6
        body = {"model": TALKER, "prompt": "x " * rng.randint(1, 200), "max_tokens": 5000, "stream": stream}
        try:
            async with asyncio.timeout(seconds):
                async with client.stream("POST", f"{daemon.address}/v1/completions", json=body) as answer:
                    async for _ in answer.aiter_bytes():
                        pass
        except (TimeoutError, httpx2.HTTPError):
            return

    async def all_clients() -> None:
        async with httpx2.AsyncClient(timeout=30) as client:
            for _ in range(40):
                await asyncio.gather(*(send_and_disconnect(client) for _ in range(12)))

    daemon.admin("POST", "/admin/models/load", {"model": TALKER})
    (worker,) = daemon.worker_pids()
    asyncio.run(all_clients())
    wait_until(lambda: not live(daemon), 5, "every request is gone")

    def idle() -> bool:  # known after the next heartbeat
        (instance,) = daemon.admin("GET", "/admin/instances")
        return (instance["pid"], instance.get("running", 0), instance.get("waiting", 0)) == (worker, 0, 0)

    wait_until(idle, 3, "the worker is idle")


def test_memory_is_flat_over_two_thousand_requests(own_daemon: Daemon) -> None:
    """Prompts of many lengths arrive at random moments. A third of the clients disconnect before the end."""
    rng = random.Random(4)
    own_daemon.config = "[engine]\nprefix_cache_bytes = 8_000_000\n"
    daemon = own_daemon.start()
    daemon.admin("POST", "/admin/models/load", {"model": TALKER})
    (worker,) = daemon.worker_pids()

    async def ask(client: httpx2.AsyncClient) -> None:
        await asyncio.sleep(rng.random() * 0.5)
        leaves = rng.random() < 0.33
        body = {
            "model": TALKER,
            "prompt": f"{rng.random()} " + "x " * rng.choice((1, 10, 100, 600)),
            "max_tokens": 5000 if leaves else rng.randint(1, 24),
            "temperature": rng.choice((0.0, 0.8)),
            "stream": True,
        }
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(rng.random() * 0.5 if leaves else 60):
                async with client.stream("POST", f"{daemon.address}/v1/completions", json=body) as answer:
                    assert answer.status_code == 200
                    async for _ in answer.aiter_bytes():
                        pass

    async def waves(count: int) -> None:
        # No connection is reused: the server may close an old one at any moment, which would look like an error.
        async with httpx2.AsyncClient(timeout=60, limits=httpx2.Limits(max_keepalive_connections=0)) as client:
            for _ in range(count):
                await asyncio.gather(*(ask(client) for _ in range(25)))

    def held() -> int:
        (instance,) = daemon.admin("GET", "/admin/instances")
        memory = instance["memory"]
        return int(memory["active"]) - int(memory.get("prefix_cache", 0))

    assert daemon.process is not None
    processes = [psutil.Process(worker), psutil.Process(daemon.process.pid)]
    asyncio.run(waves(12))  # the prefix cache is full by then
    wait_until(lambda: not live(daemon), 10, "every request is gone")
    time.sleep(2.5)
    before, arrays = [process.memory_info().rss for process in processes], held()
    asyncio.run(waves(80))
    wait_until(lambda: not live(daemon), 10, "every request is gone")
    time.sleep(2.5)
    after = [process.memory_info().rss for process in processes]
    for old, new in zip(before, after, strict=True):
        assert new - old < 60e6, f"grew from {old / 1e6:.0f} to {new / 1e6:.0f} MB"
    assert held() - arrays < 5e6, f"arrays grew from {arrays / 1e6:.1f} to {held() / 1e6:.1f} MB"
    assert daemon.worker_pids() == [worker]

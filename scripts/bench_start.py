"""The part `start` of the benchmark: the start of the command line and of the daemon."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import bench_page
import httpx2
import peers
import psutil

from tests.end_to_end.running import Daemon


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

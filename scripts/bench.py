"""`make bench`: how quickly lmx starts and answers on this machine, and HTTP beside mlx-lm in process, in one run.

Figures are medians; rates are ratios of two things measured in turn, since machines differ and are noisy.
"""

import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import httpx2
import psutil

from lmx_daemon.residency.environment import worker_environment
from tests.end_to_end.running import Daemon
from tests.models import build_model

ROUNDS = 5
STREAMS, PROMPT_TOKENS, ANSWER_TOKENS = 16, 64, 128
TINY: dict[str, Any] = {
    "hidden_size": 256,
    "num_hidden_layers": 4,
    "intermediate_size": 768,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 32,
    "vocab_size": 4096,
}
IN_PROCESS = """
import sys, time
from pathlib import Path
from mlx_lm.generate import BatchGenerator
from mlx_lm.utils import load_model
model, _ = load_model(Path(sys.argv[1]))
streams, prompt, answer = map(int, sys.argv[2:])
def once():
    batch = BatchGenerator(model, completion_batch_size=32)
    prompts = [[(7 * i + j) % 400 + 3 for j in range(prompt)] for i in range(streams)]
    batch.insert(prompts, max_tokens=[answer] * streams)
    begun, left = time.perf_counter(), streams
    while left:
        left -= sum(found.finish_reason is not None for found in batch.next()[1])
    return streams * answer / (time.perf_counter() - begun)
once()
print(once())
"""


def median_of(measure: Callable[[], float], rounds: int = ROUNDS) -> float:
    measure()
    return statistics.median(measure() for _ in range(rounds))


def command(arguments: list[str], env: dict[str, str]) -> float:
    begun = time.perf_counter()
    subprocess.run(
        [shutil.which("lmx") or f"{sys.prefix}/bin/lmx", *arguments],
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - begun


def start_and_ask() -> tuple[float, float]:
    """Seconds from exec to the first answer of /v1/models, and RSS in bytes before a model is loaded."""
    with tempfile.TemporaryDirectory(dir="/tmp") as home:
        env = os.environ | {"LMX_HOME": home}
        (Path(home) / "config.toml").write_text("[engine]\nwarm_spare = false\n")
        begun = time.perf_counter()
        lmx = shutil.which("lmx") or f"{sys.prefix}/bin/lmx"
        process = subprocess.Popen([lmx, "serve", "--port", "18734"], env=env, stdout=subprocess.DEVNULL)
        with httpx2.Client(trust_env=False) as client:
            while True:
                try:
                    client.get("http://127.0.0.1:18734/v1/models")
                    break
                except httpx2.TransportError:
                    time.sleep(0.005)
        seconds, resident = time.perf_counter() - begun, psutil.Process(process.pid).memory_info().rss
        process.terminate()
        process.wait()
        return seconds, float(resident)


async def http_rate(address: str) -> float:
    """Tokens a second over all streams."""

    async def one(client: httpx2.AsyncClient, index: int) -> int:
        ids = [(7 * index + j) % 400 + 3 for j in range(PROMPT_TOKENS)]
        body = {"model": "tests/tiny", "prompt": ids, "max_tokens": ANSWER_TOKENS, "stream": True, "temperature": 0}
        body["stream_options"] = {"include_usage": True}
        count = 0
        async with client.stream("POST", f"{address}/v1/completions", json=body) as answer:
            async for line in answer.aiter_lines():
                if line.startswith("data: {") and '"usage":{' in line:
                    count = json.loads(line[6:])["usage"]["completion_tokens"]
        return count

    async with httpx2.AsyncClient(timeout=120, trust_env=False) as client:
        begun = time.perf_counter()
        counts = await asyncio.gather(*(one(client, index) for index in range(STREAMS)))
        return sum(counts) / (time.perf_counter() - begun)


def compare_rates(cache: Path) -> tuple[float, float]:
    """(HTTP, in process) tokens a second, medians of rounds in turn."""
    commit = "0" * 40
    snapshot = build_model("qwen3", cache / "models--tests--tiny" / "snapshots" / commit, ends=False, **TINY)
    daemon = Daemon(environment={"HF_HUB_CACHE": str(cache)}).start()
    try:
        daemon.admin("POST", "/admin/models/load", {"model": "tests/tiny"})
        asyncio.run(http_rate(daemon.address))
        http, direct = [], []
        sizes = [str(STREAMS), str(PROMPT_TOKENS), str(ANSWER_TOKENS)]
        for _ in range(ROUNDS):
            http.append(asyncio.run(http_rate(daemon.address)))
            said = subprocess.run(
                [sys.executable, "-c", IN_PROCESS, str(snapshot), *sizes],
                env=worker_environment(os.environ),
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            direct.append(float(said.stdout.splitlines()[-1]))
        return statistics.median(http), statistics.median(direct)
    finally:
        daemon.stop()


def main() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        daemon = Daemon().start()
        rows = [
            ("lmx --version", f"{1000 * median_of(lambda: command(['--version'], daemon.env())):.0f} ms"),
            ("lmx ps", f"{1000 * median_of(lambda: command(['ps'], daemon.env())):.0f} ms"),
        ]
        daemon.stop()
        starts = [start_and_ask() for _ in range(ROUNDS)]
        rows.append(("lmx serve, exec to /v1/models", f"{1000 * statistics.median(s for s, _ in starts):.0f} ms"))
        rows.append(("its RSS without a model", f"{statistics.median(r for _, r in starts) / 1e6:.0f} MB"))
        http, direct = compare_rates(Path(folder))
        rows.append((f"HTTP, {STREAMS} streams, 4 M parameters", f"{http:.0f} tok/s"))
        rows.append(("mlx-lm BatchGenerator in process", f"{direct:.0f} tok/s"))
        rows.append(("HTTP / in process", f"{http / direct:.2f}"))
        for name, value in rows:
            print(f"{name:<40} {value:>12}")


if __name__ == "__main__":
    main()

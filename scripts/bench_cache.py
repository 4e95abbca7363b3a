"""Benchmark of the prefix cache: look-ups compared with mlx-lm's cache, and second turns through the daemon.

    python scripts/bench_cache.py

Figures are medians. Both sides of a ratio are measured in the same run.
"""

import json
import random
import shutil
import signal
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
import mlx.core as mx
from mlx_lm.models.cache import KVCache, LRUPromptCache

from lmx_daemon.engines.mlx.prefix.cache import PrefixCache
from tests.end_to_end.running import Daemon
from tests.models import build_model

ROUNDS = 5
ENTRY, COMMON = 40_000, 1000
"""Tokens of the stored prefix, and the number of them that the looked-up prompt shares."""
PREFIX, TURN = 1500, 24
"""Tokens of the first prompt, and of the second turn that follows it."""
SMALL: dict[str, Any] = {
    "hidden_size": 512,
    "num_hidden_layers": 8,
    "intermediate_size": 1536,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "vocab_size": 4096,
}


def milliseconds(act: Callable[[], object]) -> float:
    begun = time.perf_counter()
    act()
    return 1000 * (time.perf_counter() - begun)


def look_ups() -> list[tuple[str, str]]:
    tokens = random.Random(0).choices(range(150_000), k=ENTRY)
    keys = mx.zeros((1, 1, ENTRY, 8))
    cache = [KVCache.from_state((keys, keys, ENTRY)) for _ in range(4)]
    ours, theirs = PrefixCache(1 << 31), LRUPromptCache()
    stored = milliseconds(lambda: ours.store("", tokens, cache))
    theirs.insert_cache("model", tokens, cache)
    rows = [(f"storing {ENTRY} tokens", f"{stored:.1f} ms")]
    for name, common in (("early", COMMON), ("in the tail", ENTRY - 10)):
        wanted = [*tokens[:common], *[150_000] * (ENTRY - common)]
        hit = ours.find("", wanted)
        assert hit is not None and hit.length == common
        mine = statistics.median(milliseconds(lambda: ours.find("", wanted)) for _ in range(20))  # noqa: B023
        peer = statistics.median(
            milliseconds(lambda: theirs.fetch_nearest_cache("model", wanted))  # noqa: B023
            for _ in range(3)
        )
        rows.append((f"look-up, miss {name}: lmx / mlx-lm", f"{mine:.2f} / {peer:.1f} ms"))
    return rows


def first_token(address: str, ids: list[int], answer: int = 2) -> tuple[float, int]:
    """Return the milliseconds to the first token and the cached tokens of one streamed completion."""
    body = {"model": "tests/small", "prompt": ids, "max_tokens": answer, "temperature": 0, "stream": True}
    body["stream_options"] = {"include_usage": True}
    first, cached = 0.0, 0
    with httpx2.Client(timeout=120, trust_env=False) as client:
        client.get(f"{address}/health")
        begun = time.perf_counter()
        with client.stream("POST", f"{address}/v1/completions", json=body) as response:
            for line in response.iter_lines():
                if not line.startswith("data: {"):
                    continue
                first = first or 1000 * (time.perf_counter() - begun)
                usage = json.loads(line[6:]).get("usage")
                if usage:
                    cached = usage["prompt_tokens_details"]["cached_tokens"]
    return first, cached


def second_turns(folder: Path) -> list[tuple[str, str]]:
    build_model("qwen3", folder / "models--tests--small" / "snapshots" / ("0" * 40), ends=False, **SMALL)
    daemon = Daemon(environment={"HF_HUB_CACHE": str(folder)}).start()
    daemon.admin("POST", "/admin/models/load", {"model": "tests/small"})
    rng = random.Random(1)
    prompts = [[rng.randrange(3, 400) for _ in range(PREFIX)] for _ in range(ROUNDS)]
    turns = [[*prompt, *(rng.randrange(3, 400) for _ in range(TURN))] for prompt in prompts]
    first_token(daemon.address, [5] * 200)
    figures: dict[str, list[tuple[float, int]]] = {"first": [], "second": [], "restarted": []}
    for prompt, turn in zip(prompts, turns, strict=True):
        figures["first"].append(first_token(daemon.address, prompt))
        figures["second"].append(first_token(daemon.address, turn))
    restart(daemon)
    try:
        daemon.admin("POST", "/admin/models/load", {"model": "tests/small"})
        first_token(daemon.address, [6] * 200)
        figures["restarted"] = [first_token(daemon.address, turn) for turn in turns]
    finally:
        daemon.stop()
    names = {
        "first": f"TTFT, {PREFIX} new tokens",
        "second": "TTFT, its second turn",
        "restarted": "TTFT, its second turn after a restart",
    }
    return [
        (
            names[phase],
            f"{statistics.median(ms for ms, _ in found):.0f} ms"
            f" (cached {statistics.median(cached for _, cached in found):.0f})",
        )
        for phase, found in figures.items()
    ]


def restart(daemon: Daemon) -> None:
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGTERM)
    try:
        daemon.process.wait(30)
    except subprocess.TimeoutExpired:
        daemon.process.kill()
    daemon.start()


def main() -> None:
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        for name, value in [*look_ups(), *second_turns(folder)]:
            print(f"{name:<44} {value:>28}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()

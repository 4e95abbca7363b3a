"""mlx-lm's own batch and loader without a server, for scripts/peers.py: one line in, one line of JSON out.

burst STREAMS PROMPT ANSWER    for each stream, when each token was there, in seconds
load                           seconds of a bare mlx_lm.load
"""

import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import mlx.core as mx
import mlx_lm
from mlx_lm.generate import BatchGenerator
from mlx_lm.models.cache import KVCache, LRUPromptCache
from mlx_lm.utils import load_model

from lmx_daemon.engine.cache import PrefixCache

ENTRY, COMMON = 40_000, 1000
"""Tokens of the stored prefix, and how many of them the one that is looked up shares."""


def burst(model: Any, streams: int, prompt: int, answer: int) -> list[list[float]]:
    batch = BatchGenerator(model, completion_batch_size=32)
    prompts = [[(7 * i + j) % 400 + 3 for j in range(prompt)] for i in range(streams)]
    begun = time.perf_counter()
    rows = dict.fromkeys(batch.insert(prompts, max_tokens=[answer] * streams))
    times: dict[int, list[float]] = {row: [] for row in rows}
    left = streams
    while left:
        for found in batch.next()[1]:
            times[found.uid].append(time.perf_counter() - begun)
            left -= found.finish_reason is not None
    batch.close()
    return list(times.values())


def look_up() -> list[float]:
    tokens = random.Random(0).choices(range(150_000), k=ENTRY)
    keys = mx.zeros((1, 1, ENTRY, 8))
    stored = [KVCache.from_state((keys, keys, ENTRY)) for _ in range(4)]
    ours, theirs = PrefixCache(1 << 31), LRUPromptCache()
    ours.keep("", tokens, stored)
    theirs.insert_cache("model", tokens, stored)
    wanted = [*tokens[:COMMON], *[150_000] * (ENTRY - COMMON)]
    hit = ours.find("", wanted)
    assert hit is not None and 0 < hit.length <= COMMON
    mine = timed(lambda: ours.find("", wanted), 20)
    return [mine, timed(lambda: theirs.fetch_nearest_cache("model", wanted), 3)]


def timed(act: Callable[[], object], times: int) -> float:
    """The median of so many."""
    found = []
    for _ in range(times):
        begun = time.perf_counter()
        act()
        found.append(time.perf_counter() - begun)
    return statistics.median(found)


def main() -> None:
    path = Path(sys.argv[1])
    model, _ = load_model(path)
    for line in sys.stdin:
        match line.split():
            case ["burst", streams, prompt, answer]:
                found: Any = burst(model, int(streams), int(prompt), int(answer))
            case ["load"]:
                begun = time.perf_counter()
                mlx_lm.load(str(path))
                found = time.perf_counter() - begun
            case ["lookup"]:
                found = look_up()
            case _:
                found = None
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()

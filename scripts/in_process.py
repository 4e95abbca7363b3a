"""mlx-lm's batch and loader without a server, for scripts/peers.py.

    python scripts/in_process.py MODEL [bare]       bare: load no model at the start

Each line of input is one command, and each is answered with one line of JSON:

burst STREAMS PROMPT ANSWER    arrival times of the tokens of each stream, in seconds
load                           seconds of mlx_lm.load
bytes                          KV cache bytes relative to the tokens: lmx, mlx-lm
lookup                         seconds of a prefix look-up: lmx, mlx-lm
turn CACHED NEW                seconds to the first token after NEW tokens, with the CACHED ones before them in a cache
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

from lmx_daemon.engines.mlx.batch.batch import Batch
from lmx_daemon.engines.mlx.batch.step import Row
from lmx_daemon.engines.mlx.prefix.cache import PrefixCache
from lmx_daemon.engines.mlx.sampling.parameters import GREEDY

ENTRY, COMMON = 40_000, 1000
"""Tokens of the stored prefix, and the number of them that the looked-up prompt shares."""
LONG, SHORT, SHORTS, ANSWER = 4096, 64, 31, 400
"""Tokens of the long and of the short prompts, the number of short prompts, and the token limit of all answers."""


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
    ours.store("", tokens, stored)
    theirs.insert_cache("model", tokens, stored)
    wanted = [*tokens[:COMMON], *[150_000] * (ENTRY - COMMON)]
    hit = ours.find("", wanted)
    assert hit is not None and 0 < hit.length <= COMMON
    mine = timed(lambda: ours.find("", wanted), 20)
    return [mine, timed(lambda: theirs.fetch_nearest_cache("model", wanted), 3)]


def cache_bytes(model: Any) -> list[float]:
    """Return KV cache bytes over the bytes that the tokens need, for lmx and mlx-lm, when all rows decode."""
    lengths = [LONG, *[SHORT] * SHORTS]
    ours = Batch(model, set(), prefill_step=512)
    mine = 0
    for group in (lengths[:1], lengths[1:]):  # the long prompt first, because its prefill would outlast the short rows
        ids = [ours.add(prompt(index, length), [Row(ANSWER, GREEDY)])[0] for index, length in enumerate(group)]
        mine += all_decoding(lambda: [token.row for token in ours.step().tokens], set(ids))
    assert ours.rows == len(lengths)
    theirs = BatchGenerator(model, completion_batch_size=32, prefill_batch_size=8, prefill_step_size=512)
    uids = theirs.insert(
        [prompt(index, length) for index, length in enumerate(lengths)], max_tokens=[ANSWER] * len(lengths)
    )
    others = all_decoding(lambda: [found.uid for found in theirs.next()[1]], set(uids))
    one = model.make_cache() if hasattr(model, "make_cache") else [KVCache() for _ in model.layers]
    model(mx.array([prompt(0, 256)]), cache=one)  # 256 tokens fill the first block of a cache exactly
    mx.eval([layer.state for layer in one])
    token = sum(layer.nbytes for layer in one) / 256
    held = sum(lengths)
    return [ours.cache_bytes / (token * (held + mine)), theirs.prompt_cache_nbytes / (token * (held + others))]


def all_decoding(step: Callable[[], list[Any]], rows: set[Any]) -> int:
    """Run steps until each of `rows` has generated a token, and return the number of tokens generated."""
    left, generated = set(rows), 0
    while left:
        given = step()
        left -= set(given)
        generated += len(given)
    return generated


def next_turn(model: Any, cached: int, new: int) -> float:
    cache = [KVCache() for _ in model.layers]
    model(mx.array([prompt(1, cached)]), cache=cache)
    mx.eval([layer.state for layer in cache])
    begun = time.perf_counter()
    mx.eval(mx.argmax(model(mx.array([prompt(2, new)]), cache=cache)[:, -1], axis=-1))
    return time.perf_counter() - begun


def prompt(index: int, length: int) -> list[int]:
    return [(7 * index + j * (index + 3)) % 4000 + 3 for j in range(length)]


def timed(act: Callable[[], object], times: int) -> float:
    """Return the median seconds of `times` calls."""
    found = []
    for _ in range(times):
        begun = time.perf_counter()
        act()
        found.append(time.perf_counter() - begun)
    return statistics.median(found)


def main() -> None:
    path = Path(sys.argv[1])
    model = load_model(path)[0] if "bare" not in sys.argv else None
    for line in sys.stdin:
        match line.split():
            case ["burst", streams, prompt, answer]:
                found: Any = burst(model, int(streams), int(prompt), int(answer))
            case ["load"]:
                begun = time.perf_counter()
                mlx_lm.load(str(path))
                found = time.perf_counter() - begun
            case ["bytes"]:
                found = cache_bytes(model)
            case ["turn", cached, new]:
                found = next_turn(model, int(cached), int(new))
            case ["lookup"]:
                found = look_up()
            case _:
                found = None
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()

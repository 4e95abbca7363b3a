"""mlx-lm's own batch and loader without a server, for scripts/peers.py: one line in, one line of JSON out.

burst STREAMS PROMPT ANSWER    for each stream, when each token was there, in seconds
load                           seconds of a bare mlx_lm.load
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import mlx_lm
from mlx_lm.generate import BatchGenerator
from mlx_lm.utils import load_model


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
            case _:
                found = None
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()

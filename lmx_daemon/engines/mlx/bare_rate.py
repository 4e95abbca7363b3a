"""The speed of mlx-lm's batch generator without lmx, for `lmx doctor --engine`: a program of its own.

    python -m lmx_daemon.engines.mlx.bare_rate MODEL < BURSTS

BURSTS is JSON: for each burst, the tokens of each prompt and the number of tokens to generate for it. Prints the tokens
per second of each burst, prompts included.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx_lm.generate import BatchGenerator
from mlx_lm.utils import load_model

ROUNDS = 3
"""Number of runs of each burst. The fastest run counts, since the first one compiles kernels."""


def rate(model: Any, prompts: list[list[int]], counts: list[int]) -> float:
    """Return the generated tokens per second of all prompts together."""
    batch = BatchGenerator(model, completion_batch_size=max(2, len(prompts)))
    begun = time.perf_counter()
    batch.insert(prompts, max_tokens=counts)
    left = len(prompts)
    while left:
        left -= sum(found.finish_reason is not None for found in batch.next()[1])
    elapsed = time.perf_counter() - begun
    batch.close()
    return sum(counts) / elapsed


def main() -> None:
    model = load_model(Path(sys.argv[1]))[0]
    mx.eval(model.parameters())
    bursts = json.load(sys.stdin)
    print(json.dumps([max(rate(model, burst["prompts"], burst["counts"]) for _ in range(ROUNDS)) for burst in bursts]))


if __name__ == "__main__":
    main()

"""Times of the lists of models while a model computes, for bench_dialects.py."""

import asyncio

from lean_client import LeanClient

from lmx_cli.bench.prompts import words

PATHS = ("/v1/models", "/api/tags", "/api/v0/models", "/api/v1/models")
STREAMS, ANSWER, PREFILL = 8, 64, 1500
PAUSE = 0.1
"""Seconds between two requests for a list."""


async def seconds_beside_answers(client: LeanClient, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each request for a list, by path, beside streams and a long prompt in each round."""
    found: dict[str, list[float]] = {path: [] for path in PATHS}
    for number in range(rounds):
        texts = [words(20, f"list {number} {index}") for index in range(STREAMS)]
        texts.append(words(PREFILL, f"list {number} long"))
        bodies = [client.body("chat completions", text, ANSWER) for text in texts]
        answers = asyncio.gather(*(client.whole("chat completions", body) for body in bodies))
        while not answers.done():
            for path in PATHS:
                found[path].append(await client.list_seconds(path))
                await asyncio.sleep(PAUSE)
        await answers
    return found

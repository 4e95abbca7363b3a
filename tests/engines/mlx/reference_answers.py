"""Reference answers: the model is called token by token. Answers from restored caches are compared with them."""

from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.utils import load_model

from lmx_daemon.engines.mlx.prefix.cache import PrefixCache
from tests.models import build_model

PROMPT = [3 + (7 * n) % 400 for n in range(300)]
CAN_BE_TRIMMED = ("llama", "qwen2", "qwen3", "qwen3_moe", "deepseek_v3")


def model_of(architecture: str, folder: Path) -> Any:
    if not (folder / "config.json").exists():
        build_model(architecture, folder, ends=False)
    return load_model(folder)[0]


def computed(model: Any, tokens: list[int]) -> list[Any]:
    """Return a cache that holds `tokens`."""
    cache = make_prompt_cache(model)
    model(mx.array([tokens]), cache=cache)
    mx.eval([part.state for part in cache])
    return cache


def answer(model: Any, cache: list[Any], tokens: list[int], count: int = 8) -> Any:
    """Return the greedy answer to `tokens` after the content of `cache`, with the logit of each token."""
    found: list[Any] = []
    logits = model(mx.array([tokens]), cache=cache)
    for _ in range(count):
        best = int(mx.argmax(logits[0, -1]))
        found += [best, float(mx.max(logits[0, -1]))]
        logits = model(mx.array([[best]]), cache=cache)
    return pytest.approx(found, abs=1e-4)


def expected(model: Any, tokens: list[int]) -> list[float]:
    return list(answer(model, make_prompt_cache(model), tokens).expected)


def stored_tokens(prefixes: PrefixCache, tokens: list[int], namespace: str = "") -> int:
    hit = prefixes.find(namespace, tokens)
    return hit.length if hit is not None else 0

"""Checkpoints: the batch returns a row's cache at the requested positions, for every kind of cache."""

from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.utils import load_model

from lmx_daemon.engines.mlx.batch.batch import Batch
from lmx_daemon.engines.mlx.batch.step import Row
from lmx_daemon.engines.mlx.sampling.parameters import GREEDY
from tests.models import ARCHITECTURES, build_model

PROMPT = [3 + (7 * n) % 400 for n in range(100)]


def answer(model: Any, cache: list[Any], tokens: list[int], count: int) -> list[int]:
    """Return the greedy answer to `tokens` after the content of `cache`, one model call at a time."""
    found: list[int] = []
    logits = model(mx.array([tokens]), cache=cache)
    for _ in range(count):
        found.append(int(mx.argmax(logits[0, -1])))
        logits = model(mx.array([found[-1:]]), cache=cache)
    return found


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_checkpoint_holds_its_position(architecture: str, tmp_path: Path) -> None:
    model, _ = load_model(build_model(architecture, tmp_path, ends=False))
    expected = answer(model, make_prompt_cache(model), PROMPT, 8)
    batch = Batch(model, set(), prefill_step=16)
    (row,) = batch.add(PROMPT, [Row(4, GREEDY)], checkpoints=(40, 84, 99))
    batch.add(PROMPT[:30], [Row(4, GREEDY)])
    taken: dict[int, list[Any]] = {}
    asked = False
    while batch.rows:
        prompts = batch.step().prompts
        taken |= {step.done: step.cache for step in prompts if step.row is row and step.cache is not None}
        if not asked and prompts:
            asked = True
            assert batch.checkpoint(row, 61)
            assert not batch.checkpoint(row, 5), "it has come further already"
    assert sorted(taken) == [40, 61, 84, 99]
    for position, cache in taken.items():
        assert answer(model, cache, PROMPT[position:], 8) == expected
    assert not batch.checkpoint(row, 70)
    assert batch.extract(row) is None

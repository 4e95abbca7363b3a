"""The code path of a GPU, which Macs take, on the arithmetic of this machine.

Seeds, cancellations and other rows change no answer there either, in the number types that are used there.
"""

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx.utils import tree_map
from mlx_lm.models import activations, base

from lmx_daemon.contract.generation.requests import Sampling
from lmx_daemon.contract.worker.messages import TextOptions
from lmx_daemon.engines.mlx import patches, platform
from lmx_daemon.engines.mlx.batch.batch import Batch
from lmx_daemon.engines.mlx.batch.step import Row
from lmx_daemon.engines.mlx.cpu import eager_functions
from lmx_daemon.engines.mlx.cpu import exponentials as host
from lmx_daemon.engines.mlx.load.model import load
from lmx_daemon.engines.mlx.load.probe import probe_model
from lmx_daemon.engines.mlx.prefix.cache import PrefixCache
from lmx_daemon.engines.mlx.sampling.parameters import GREEDY, SamplingParams
from lmx_daemon.engines.mlx.sampling.processors import SampledRow, TokenCounts
from lmx_daemon.engines.mlx.sampling.sampler import Sampler
from lmx_daemon.memory.need import buffer_bytes
from tests.engines.mlx.batch import test_batch, test_constraints
from tests.engines.mlx.batch.test_batch import LENGTHS, alone_with, model_of, run_schedules, tokens_of
from tests.engines.mlx.schedule import test_scheduler
from tests.models import build_model

GIB = 1024**3


def restore_functions() -> None:
    """Make mlx-lm's models call its own functions again."""
    own = dict.fromkeys((patches.attention, eager_functions.attention), "scaled_dot_product_attention")
    for module in [module for name, module in list(sys.modules.items()) if name.startswith("mlx_lm.models.")]:
        for function, name in own.items():
            if getattr(module, name, None) is function:
                setattr(module, name, base.scaled_dot_product_attention)
        if getattr(module, "swiglu", None) is eager_functions.swiglu:
            module.swiglu = activations.swiglu


@pytest.fixture(autouse=True)
def _as_on_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    restore_functions()
    alone_with.cache_clear()  # a GPU draws in another way
    monkeypatch.setattr(platform, "on_cpu", lambda: False)
    for name in ("attend", "gate"):
        monkeypatch.setattr(host, name, lambda *_: pytest.fail("numpy takes no part on a GPU"))
    yield
    monkeypatch.undo()
    restore_functions()
    patches.install(platform.backend().replacements)
    alone_with.cache_clear()


@pytest.mark.parametrize("architecture", ("llama", "gemma3_text", "falcon_h1"))
def test_row_generates_the_tokens_that_it_generates_alone(architecture: str) -> None:
    run_schedules(architecture, 2, 15)


@pytest.mark.parametrize("kind", test_constraints.SAMPLED)
def test_constrained_rows_follow_their_grammars(kind: str) -> None:
    test_constraints.check_rows_follow_their_grammars(test_constraints.SAMPLED[kind])


def test_tokens_of_one_request_never_appear_in_another() -> None:
    assert test_batch.run_secrets(80) > 40


def test_answer_equals_the_answer_of_the_request_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unfiltered = {"sampling": Sampling(temperature=0.8, seed=11), "choices": 3, "top_logprobs": 1}
    monkeypatch.setitem(test_scheduler.KINDS, "unfiltered", unfiltered)
    assert test_scheduler.schedules_of("llama", tmp_path).run(5, tmp_path / "disk", 25) > 2


def in_type(kind: str) -> Any:
    """Return a llama model or one with windows, in a number type that is used on Macs."""
    model = model_of.__wrapped__("gemma3_text" if kind == "float16" else "llama")
    if kind == "4 bits":
        nn.quantize(model, group_size=32, bits=4, class_predicate=lambda path, _: path.endswith(("k_proj", "v_proj")))
    wanted = mx.float16 if kind == "float16" else mx.bfloat16
    model.update(
        tree_map(lambda own: own.astype(wanted) if mx.issubdtype(own.dtype, mx.floating) else own, model.parameters())
    )
    return model


@pytest.mark.parametrize("kind", ("bfloat16", "float16", "4 bits"))
def test_half_precision_batches_generate_the_tokens_of_the_model_alone(kind: str) -> None:
    """Rounding differs with the other rows; keys and values of another row would be far off."""
    model, generator = in_type(kind), random.Random(2)
    abilities = probe_model(model)
    assert abilities.merges and abilities.joins and abilities.lazy
    batch, prefixes = Batch(model, set(), prefill_step=4096, abilities=abilities), PrefixCache(1 << 24)
    answers: dict[Row, tuple[tuple[int, ...], list[int]]] = {}
    for count in range(16):
        prompt = tokens_of(generator.randrange(3), generator.choice(LENGTHS))
        hit = prefixes.find("", prompt)
        most = generator.randint(1, 10)
        rows = [Row(most, GREEDY) for _ in range(generator.choice((1, 1, 3)))]
        batch.add(prompt, rows, hit.cache if hit else None, hit.length if hit else 0)
        answers |= {row: (prompt, []) for row in rows}
        while len(answers) >= 10 or (count == 15 and answers):
            for token in batch.step().tokens:
                prompt, answer = answers[token.row]
                answer.append(token.token)
                if token.reason is None:
                    continue
                del answers[token.row]
                assert token.cache is not None
                prefixes.store("", token.row.held, token.cache)
                logits = model(mx.array([[*prompt, *answer]]))[0, len(prompt) - 1 : -1].astype(mx.float32)
                chosen = mx.take_along_axis(logits, mx.array(answer)[:, None], axis=-1)[:, 0]
                assert mx.max(mx.max(logits, axis=-1) - chosen).item() < 0.5 * mx.std(logits).item()
        if answers and generator.random() < 0.2:
            row = generator.choice(list(answers))
            batch.remove([row])
            del answers[row]
    assert batch.cache_bytes == 0


@pytest.mark.parametrize("dtype", (mx.bfloat16, mx.float16, mx.float32))
def test_small_penalties_and_biases_apply_in_every_number_type(dtype: mx.Dtype) -> None:
    logits = mx.array([[33.0, 33.0, 12.0]] * 4).astype(dtype)
    rows = [
        SamplingParams(presence_penalty=0.1),
        SamplingParams(frequency_penalty=0.1),
        SamplingParams(repetition_penalty=1.003),
        SamplingParams(bias={1: 0.1}),
    ]
    counts = [TokenCounts([], 3) if resolved.penalised else None for resolved in rows]
    sampler = Sampler([SampledRow(*pair) for pair in zip(rows, counts, strict=True)], 3)
    answer = [sampler.sample(logits, [step] * 4).read()[0] for step in range(3)]
    assert [list(row) for row in zip(*answer, strict=True)] == [[0, 1, 0], [0, 1, 0], [0, 1, 0], [1, 1, 1]]


def test_weights_keep_their_type(tmp_path: Path) -> None:
    path = build_model("llama", tmp_path)
    weights = mx.load(str(path / "model.safetensors"))
    halved = {name: value.astype(mx.bfloat16) for name, value in weights.items()}
    mx.save_safetensors(str(path / "model.safetensors"), halved, {"format": "mlx"})
    found = load(path, TextOptions(), lambda *_: None)
    assert (found.dtype, found.note) == ("bfloat16", "")


def test_only_large_models_are_wired_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    wired: list[int] = []
    monkeypatch.setattr(mx.metal, "is_available", lambda: True)
    monkeypatch.setattr(mx, "device_info", lambda: {"max_recommended_working_set_size": 48 * GIB, "device_name": "M4"})
    monkeypatch.setattr(mx, "set_wired_limit", wired.append)
    assert platform.backend().describe() == "metal, M4" and platform.backend().device_memory() == 48 * GIB
    assert platform.wire("auto", 20 * GIB) == platform.wire("off", 40 * GIB) == "" and not wired
    assert platform.wire("auto", 25 * GIB) and platform.wire(str(4 * GIB), GIB) and platform.wire(str(99 * GIB), GIB)
    assert wired == [48 * GIB, 4 * GIB, 48 * GIB]


def test_buffers_kept_by_mlx_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[int] = []
    monkeypatch.setattr(mx, "set_cache_limit", limits.append)
    platform.backend().bound_caches(8 * GIB)
    assert limits == [buffer_bytes(8 * GIB)]

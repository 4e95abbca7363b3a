"""Tests of the memory plan of a model: each figure and its basis."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from lmx_daemon.contract.worker.cache_shape import CacheShape, Growing
from lmx_daemon.memory.need import Demand, Device, Measured, plan_for
from lmx_daemon.memory.shape import guessed_weights, read_shape, weights_of
from tests.models import SMALL, build_model

METAL = Device(cpu=False)
CPU = Device(cpu=True)


def write(folder: Path, config: dict[str, Any], tensors: dict[str, tuple[str, int]]) -> Path:
    """Create a repository whose weights are headers only, with (type, bytes) of each tensor."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    header: dict[str, Any] = {"__metadata__": {"format": "mlx"}}
    position = 0
    for name, (kind, size) in tensors.items():
        header[name] = {"dtype": kind, "shape": [size], "data_offsets": [position, position + size]}
        position += size
    encoded = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(encoded)) + encoded)
    return folder


def test_the_size_of_the_weights_is_exact(tmp_path: Path) -> None:
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_lm.utils import load_model

    path = build_model("llama", tmp_path / "llama")
    model, _ = load_model(path)
    held = sum(value.nbytes for _, value in tree_flatten(model.parameters()))
    mx.clear_cache()
    plan = plan_for(read_shape(path), Demand(), CPU)
    assert (plan.weights.bytes, plan.weights.basis) == (held, "exact")
    assert (plan.cache.basis, plan.scratch.basis) == ("computed", "estimated")


def test_half_precision_weights_double_on_a_cpu(tmp_path: Path) -> None:
    path = write(
        tmp_path / "m", SMALL | {"model_type": "llama"}, {"a.weight": ("BF16", 1000), "b.weight": ("U32", 500)}
    )
    shape = read_shape(path)
    assert plan_for(shape, Demand(), METAL).weights.bytes == 1500
    on_cpu = plan_for(shape, Demand(), CPU)
    assert (on_cpu.weights.bytes, on_cpu.weights.basis) == (2500, "computed")
    assert on_cpu.cache.bytes == 2 * plan_for(shape, Demand(), METAL).cache.bytes


def test_tensors_that_are_not_loaded_are_not_counted(tmp_path: Path) -> None:
    tensors = {"language_model.model.a": ("F32", 800), "vision_tower.x": ("F32", 400), "lm_head.weight": ("F32", 100)}
    path = write(tmp_path / "m", SMALL | {"model_type": "llama", "tie_word_embeddings": True}, tensors)
    weights = read_shape(path).weights
    assert (weights.bytes, weights.basis) == (800, "computed")


def test_the_cache_grows_with_context_and_slots(tmp_path: Path) -> None:
    shape = read_shape(write(tmp_path / "m", SMALL | {"model_type": "llama"}, {"a": ("F32", 1000)}))
    per_token = 2 * 2 * 2 * 16 * 4
    assert plan_for(shape, Demand(), CPU).context == 4096
    asked = plan_for(shape, Demand(context=8192, slots=3), CPU)
    assert (asked.context, asked.slots, asked.cache.bytes) == (8192, 3, 3 * 8192 * per_token)
    assert plan_for(shape, Demand(context=10**9), CPU).context == SMALL["max_position_embeddings"]


def test_measured_figures_replace_computed_ones(tmp_path: Path) -> None:
    shape = read_shape(write(tmp_path / "m", SMALL | {"model_type": "llama"}, {"a": ("F32", 1000)}))
    cache = CacheShape(growing=(Growing(per_token=7),))
    plan = plan_for(shape, Demand(), CPU, Measured(weights=1234, process=5, cache=cache))
    assert (plan.weights.bytes, plan.weights.basis) == (1234, "measured")
    assert (plan.cache.bytes, plan.cache.basis) == (4096 * 7, "measured")
    assert plan.scratch.bytes < plan_for(shape, Demand(), CPU).scratch.bytes


def test_the_plans_of_known_models_are_plausible() -> None:
    """Bytes of one more token in bfloat16, as computed by hand."""
    from lmx_daemon.memory.architectures import cache_shape

    def per_token(**config: Any) -> int:
        shape = cache_shape(config, 2)
        assert shape is not None
        return sum(part.per_token for part in shape.growing if part.window is None)

    qwen3 = {"num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128}
    llama = {"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "hidden_size": 4096}
    deepseek = {"num_hidden_layers": 61, "kv_lora_rank": 512, "qk_rope_head_dim": 64}
    assert per_token(model_type="qwen3", **qwen3) == 112 * 1024
    assert per_token(model_type="llama", **llama) == 128 * 1024
    assert per_token(model_type="deepseek_v3", **deepseek) == 61 * 576 * 2


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, struct.pack("<Q", 2**40), struct.pack("<Q", 3) + b"[1]"])
def test_unreadable_headers_give_an_estimate(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path / "m", SMALL | {"model_type": "llama"}, {})
    (path / "model.safetensors").write_bytes(content)
    plan = plan_for(read_shape(path), Demand(), METAL)
    assert (plan.weights.bytes, plan.weights.basis) == (len(content), "estimated")


def test_an_empty_folder_has_a_plan(tmp_path: Path) -> None:
    plan = plan_for(read_shape(tmp_path), Demand(), METAL)
    assert (plan.weights.bytes, plan.cache.basis) == (0, "estimated")


def test_invalid_headers_are_ignored() -> None:
    weights = weights_of(
        [{"a": {"dtype": "F32", "data_offsets": [10, -5]}, "b": 3, "c": {"data_offsets": ["x", 1]}}], {}
    )
    assert weights.bytes == 0


def test_the_size_on_the_hub_gives_an_estimate() -> None:
    weights = guessed_weights(1000, {"quantization": {"bits": 4}})
    assert (weights.bytes, weights.basis) == (1000, "estimated")

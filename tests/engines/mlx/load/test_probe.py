"""The probe of a model's abilities."""

import functools
import tempfile
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.utils import load_model

from lmx_daemon.engines.mlx.batch.batch import Batch
from lmx_daemon.engines.mlx.batch.grouped_attention import GroupedCache
from lmx_daemon.engines.mlx.batch.warm_up import warm_up
from lmx_daemon.engines.mlx.load.probe import ModelAbilities, measure_cache, probe_model
from tests.models import build_model


@functools.cache
def model_of(architecture: str) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        return load_model(build_model(architecture, Path(folder), ends=False))[0]


class CountedModel:
    """A model whose calls are counted."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        self.calls += 1
        return self._model(*arguments, **named)


class EvaluatingModel(CountedModel):
    """A model that evaluates its tokens during the call, as some models do."""

    def __call__(self, inputs: mx.array, cache: Any = None) -> Any:
        assert not mx.any(inputs == 511).item()
        return super().__call__(inputs, cache=cache)


class MixingModel(CountedModel):
    """A model that reads the arrays of its cache, and so computes groups of rows wrongly."""

    def __call__(self, inputs: mx.array, cache: Any = None) -> Any:
        logits = super().__call__(inputs, cache=cache)
        return logits[::-1] if isinstance(cache[0], GroupedCache) else logits


@pytest.mark.parametrize(
    ("architecture", "merges", "joins", "pads", "lazy"),
    [
        ("llama", True, True, True, True),
        ("qwen3_moe", True, True, True, True),
        ("gemma3_text", True, True, False, True),
        ("deepseek_v3", True, False, True, True),
        ("mamba", True, False, False, True),
        ("gemma2", False, False, True, True),
        ("dbrx", True, True, True, False),
    ],
)
def test_the_probe_finds_the_abilities_of_each_architecture(
    architecture: str, merges: bool, joins: bool, pads: bool, lazy: bool
) -> None:
    model = model_of(architecture)
    assert probe_model(model) == ModelAbilities(measure_cache(model), merges, joins, pads, lazy)


class RecordingModel(CountedModel):
    """A model that records its calls in `log`."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.log: list[str] = []

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        self.log.append("call")
        return super().__call__(*arguments, **named)


@pytest.mark.parametrize("architecture", ["llama", "mamba"])  # mamba's cache cannot be cut
def test_each_call_of_the_probe_reports_progress(architecture: str) -> None:
    model = RecordingModel(model_of(architecture))
    probe_model(model, lambda: model.log.append("progress"))
    assert model.log.count("call") >= 4 and "call call" not in " ".join(model.log)


@pytest.mark.parametrize("architecture", ["llama", "mamba"])
def test_each_step_of_the_warm_up_reports_progress(architecture: str) -> None:
    model = RecordingModel(model_of(architecture))
    batch = Batch(model, set(), prefill_step=64)
    model.log.clear()
    warm_up(batch, lambda: model.log.append("progress"))
    assert model.log.count("call") >= 4 and "call call call" not in " ".join(model.log)


def test_a_model_that_evaluates_its_tokens_is_not_lazy() -> None:
    assert not probe_model(EvaluatingModel(model_of("llama"))).lazy


def test_a_model_that_mixes_groups_cannot_join_them() -> None:
    found = probe_model(MixingModel(model_of("llama")))
    assert found.merges and not found.joins


def test_a_model_that_attends_to_later_tokens_gets_no_padding() -> None:
    class Glancing(CountedModel):
        def __call__(self, inputs: mx.array, cache: Any = None) -> Any:
            return super().__call__(inputs + inputs[:, -1:] + len(inputs), cache=cache)

    assert not probe_model(Glancing(model_of("llama"))).pads


def test_a_model_that_fails_for_a_plain_prompt_fails_the_load() -> None:
    class Broken(CountedModel):
        def __call__(self, *arguments: Any, **named: Any) -> Any:
            raise ValueError("no such layer")

    with pytest.raises(ValueError, match="no such layer"):
        probe_model(Broken(model_of("llama")))


def test_the_probe_calls_the_model_five_times() -> None:
    model = CountedModel(model_of("llama"))
    probe_model(model)
    assert model.calls <= 5

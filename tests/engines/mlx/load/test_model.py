"""A load: its progress, and which error is reported."""

import json
from pathlib import Path

import pytest

from lmx_daemon.contract.errors import ModelLoadError, UntrustedModelError
from lmx_daemon.contract.worker.messages import TextOptions
from lmx_daemon.engines.mlx.load import model as load_module
from lmx_daemon.engines.mlx.load.model import load
from tests.models import build_model

Reported = list[tuple[str, float | None]]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return build_model("llama", tmp_path / "model")


def progress_of(path: Path) -> Reported:
    reported: Reported = []
    load(path, TextOptions(), lambda stage, fraction: reported.append((stage, fraction)))
    return reported


def test_a_small_model_is_read_in_one_piece(model: Path) -> None:
    assert progress_of(model) == [("checking", None), ("weights", 0.0), ("weights", 1.0), ("tokenizer", None)]


def test_a_large_model_reports_its_progress(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_module, "LEAST_PIECE", 1)
    fractions = [fraction for stage, fraction in progress_of(model) if stage == "weights" and fraction is not None]
    assert len(fractions) > 5 and fractions == sorted(set(fractions)) and fractions[-1] == 1.0


def test_a_tokenizer_that_cannot_be_read_fails_the_load(model: Path) -> None:
    (model / "tokenizer.json").write_text('{"model": 1}')
    with pytest.raises(ModelLoadError, match=r"tokenizer\.json or .*: 'added_tokens' is missing") as failed:
        progress_of(model)
    assert isinstance(failed.value.__cause__, KeyError)


def test_code_is_refused_before_any_other_check(model: Path) -> None:
    (model / "tokenizer.json").write_text('{"model": 1}')
    (model / "model.safetensors").write_bytes(b"nothing")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"model_file": "own.py"}))
    with pytest.raises(UntrustedModelError):
        progress_of(model)


def test_broken_weights_are_reported_before_a_broken_tokenizer(model: Path) -> None:
    (model / "tokenizer.json").write_text('{"model": 1}')
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"intermediate_size": 96}))
    with pytest.raises(ModelLoadError, match="mlp"):
        progress_of(model)

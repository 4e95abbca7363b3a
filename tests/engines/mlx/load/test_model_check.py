"""Refusal of hostile model files before MLX or transformers read them; a large valid model passes."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
from safetensors.numpy import save_file

from lmx_daemon.contract.errors import ModelLoadError
from lmx_daemon.engines.mlx.load.model_check import MAX_TEXT_BYTES, check_model
from lmx_daemon.library.catalog.describe import describe
from tests.library.repositories import make_folder


def bomb(folder: Path) -> None:
    (folder / "tokenizer.json").write_bytes(b'{"model":[' + b"[]," * 5_000_000 + b"[]]}")


def deep(folder: Path) -> None:
    (folder / "tokenizer.json").write_bytes(b'{"model":' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}")


def huge(folder: Path) -> None:
    with (folder / "tokenizer.model").open("wb") as file:
        file.truncate(MAX_TEXT_BYTES + 1)


def fifo(folder: Path) -> None:
    os.mkfifo(folder / "merges.txt")


def layers(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 1_000_000}))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (bomb, "tokenizer.json holds more than"),
        (deep, "tokenizer.json is not JSON"),
        (huge, "tokenizer.model has"),
        (fifo, "merges.txt is not a regular file"),
        (layers, "config.json: num_hidden_layers must be an integer from 1 to 1024, not 1000000"),
    ],
)
def test_hostile_file_is_refused_by_name(tmp_path: Path, damage: Callable[[Path], None], reason: str) -> None:
    folder = make_folder(tmp_path / "model")
    damage(folder)
    with pytest.raises(ModelLoadError, match=reason):
        check_model(folder)


def test_large_valid_model_is_accepted(tmp_path: Path) -> None:
    """A header of 4 MB, a vocabulary of 300,000 tokens with as many merges, a tokenizer.json of more than 20 MB."""
    folder = make_folder(tmp_path / "model")
    vocabulary = {f"token{number:030}": number for number in range(300_000)}
    merges = [[f"token{number}", f"token{number + 1}"] for number in range(300_000)]
    tokenizer = {"model": {"type": "BPE", "vocab": vocabulary, "merges": merges}}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert (folder / "tokenizer.json").stat().st_size > 20_000_000
    one = numpy.zeros((1,), dtype=numpy.float32)
    tensors = {f"model.layers.{number}.mlp.experts.down_proj.weight": one for number in range(40_000)}
    save_file(tensors, folder / "model.safetensors")
    check_model(folder)
    model = describe("local/model", folder, "folder", None)
    assert model is not None and model.problem is None and model.parameters == 40_000

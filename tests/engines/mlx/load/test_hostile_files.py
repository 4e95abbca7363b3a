"""Configs and tokenizers with one wrong value: a load works, or fails with an error that names the file."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lmx_daemon.contract.errors import LmxError
from lmx_daemon.contract.worker.messages import TextOptions
from lmx_daemon.engines.mlx.load import model as load_module
from lmx_daemon.engines.mlx.load.failure import load_failure
from lmx_daemon.engines.mlx.load.model import load
from lmx_daemon.engines.mlx.load.probe import probe_model
from tests.hostile import PYTHON_NAME, mutations
from tests.models import build_model

KINDS = ["llama", "qwen3_moe", "gemma3_text", "gpt_oss", "mamba", "deepseek_v3", "dbrx", "mistral3"]
MORE: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "eos_token_id": 2,
    "rope_scaling": {"type": "linear", "factor": 2.0},
}
"""Keys that many configs have besides those of the small models."""
EVERY = 9
"""Distance of the mutations that the quick test takes."""


def problem_of(path: Path) -> str | None:
    """Return the error of a load with its warm-up as a worker reports it; None when the load works."""
    try:
        loaded = load(path, TextOptions(), lambda stage, fraction: None)
        probe_model(loaded.model)
    except Exception as error:
        failed = load_failure(error, path)
        assert isinstance(failed, LmxError)
        return f"{failed.message} {failed.hint}"
    return None


def wrong_errors(path: Path, file: str, changed: Iterator[tuple[str, Any]]) -> list[str]:
    """Write each content to a file of the model, and return the errors that name Python's types or no file."""
    found = []
    for name, content in changed:
        (path / file).write_text(json.dumps(content))
        problem = problem_of(path)
        if problem is not None and (PYTHON_NAME.search(problem) or len(problem) > 800):
            found.append(f"{name}: {problem}")
    return found


def built(kind: str, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """Return a good model, and its config with further keys."""
    path = build_model(kind, tmp_path / kind)
    config: dict[str, Any] = json.loads((path / "config.json").read_text())
    return path, {**MORE, **config} if kind in ("llama", "qwen3_moe") else config


@pytest.fixture
def one_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read the tokenizer once, because the mutations of a config are many."""
    kept: list[Any] = []

    def read(path: Path, ends: Any, trusted: bool) -> Any:
        if not kept:
            kept.append(original(path, None, trusted))
        return kept[0]

    original = load_module._read_tokenizer
    monkeypatch.setattr(load_module, "_read_tokenizer", read)


@pytest.mark.usefixtures("one_tokenizer")
@pytest.mark.parametrize("kind", KINDS)
def test_wrong_value_in_a_config_is_a_clear_error(tmp_path: Path, kind: str) -> None:
    path, config = built(kind, tmp_path)
    chosen = list(mutations(config))[KINDS.index(kind) % EVERY :: EVERY]
    assert wrong_errors(path, "config.json", iter(chosen)) == []


@pytest.mark.slow
@pytest.mark.usefixtures("one_tokenizer")
@pytest.mark.parametrize("kind", KINDS)
def test_every_wrong_value_in_a_config_is_a_clear_error(tmp_path: Path, kind: str) -> None:
    path, config = built(kind, tmp_path)
    assert wrong_errors(path, "config.json", mutations(config)) == []


@pytest.mark.slow
@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "generation_config.json", "tokenizer.json"])
def test_every_wrong_value_in_a_file_of_the_tokenizer_is_a_clear_error(tmp_path: Path, file: str) -> None:
    path, config = built("llama", tmp_path)
    more = {"eos_token_id": [1, 2], "temperature": 0.5} if file == "generation_config.json" else {}
    content = {**more, **(config if file == "config.json" else json.loads((path / file).read_text()))}
    if file == "tokenizer.json":
        content["model"] = {**content["model"], "vocab": {}, "merges": []}
    assert wrong_errors(path, file, mutations(content)) == []


@pytest.mark.usefixtures("one_tokenizer")
@pytest.mark.parametrize(
    ("kind", "changes", "line"),
    [
        ("llama", {"num_hidden_layers": "2"}, "config.json: num_hidden_layers must be an integer from 1 to 1024"),
        ("llama", {"rms_norm_eps": "x"}, 'config.json: rms_norm_eps must be a number, not "x"'),
        ("llama", {"rms_norm_eps": float("nan")}, "config.json: rms_norm_eps must be a number, not NaN"),
        ("llama", {"rms_norm_eps": None}, "config.json: rms_norm_eps must be a number, not null"),
        ("llama", {"rope_scaling": []}, "config.json: rope_scaling must be an object or null, not []"),
        ("llama", {"rope_scaling": {"type": "linear", "factor": "x"}}, "config.json: rope_scaling.factor must be"),
        ("llama", {"model_type": "../../etc"}, 'config.json: model_type "../../etc" is not supported by mlx-lm'),
        ("llama", {"model_type": "cache"}, 'config.json: model_type "cache" is not supported by mlx-lm'),
        ("llama", {"architectures": [["x"]]}, "config.json: architectures must be a list of strings or null"),
        ("llama", {"num_attention_heads": 0, "head_dim": None}, "config.json: num_attention_heads must be a number"),
        ("mistral3", {"text_config": []}, "config.json: text_config must be an object, not []"),
        ("dbrx", {"ffn_config": []}, "config.json: ffn_config must be an object, not []"),
    ],
)
def test_error_names_the_key_and_what_is_expected(
    tmp_path: Path, kind: str, changes: dict[str, Any], line: str
) -> None:
    path, config = built(kind, tmp_path)
    (path / "config.json").write_text(json.dumps(config | changes))
    assert line in (problem_of(path) or "")


@pytest.mark.parametrize("key", ["model_type", "hidden_size", "vocab_size"])
def test_missing_key_is_named(tmp_path: Path, key: str) -> None:
    path, config = built("llama", tmp_path)
    del config[key]
    (path / "config.json").write_text(json.dumps(config))
    assert f"config.json: {key} is missing" in (problem_of(path) or "")


def test_good_models_load(tmp_path: Path) -> None:
    for kind in KINDS:
        path, config = built(kind, tmp_path)
        (path / "config.json").write_text(json.dumps(config))
        assert problem_of(path) is None

"""The description of a model from its files, which are read cheaply: nothing is loaded, and nothing is trusted.

A damaged model is described as far as possible, with its problem in one line.
"""

from pathlib import Path
from typing import Any

from lmx_daemon.contract.models import Model
from lmx_daemon.contract.text import one_line, shortened, valid_text
from lmx_daemon.library.catalog.parameter_count import count_parameters
from lmx_daemon.library.catalog.traits import traits_of
from lmx_daemon.library.disk.sizes import file_size
from lmx_daemon.library.verify.code_files import code_in
from lmx_daemon.memory.bounds import absurd
from lmx_daemon.storage.foreign.reading import open_model_file, read_index, read_model_file, read_object

MAX_BITS = 64
MAX_TEXT = 200
"""Limit on the characters of a text from the model's files."""
MAX_TEMPLATE_BYTES = 1024 * 1024
MAX_CARD_BYTES = 64 * 1024
LENGTH_KEYS = ("max_position_embeddings", "max_sequence_length", "seq_length", "n_positions")


def describe(identity: str, path: Path, source: Any, revision: str | None) -> Model | None:
    """Return the model in the folder `path`; None when the folder holds no language model. Raises OSError."""
    config = read_object(path / "config.json")
    weights = sorted(path.glob("*.safetensors"))
    if config is None and not weights and not any(path.glob("*.gguf")):
        return None
    names = {file.name for file in path.iterdir()}
    tokenizer = read_object(path / "tokenizer_config.json") or {}
    text = template(path, tokenizer)
    config = config or {}
    sizes = [file_size(file) for file in weights]
    traits = traits_of(config, text, names)
    return Model(
        id=identity,
        path=str(path),
        source=source,
        revision=revision,
        size=sum(sizes),
        architecture=short_text(config.get("model_type")),
        quantization=quantization(config),
        parameters=count_parameters(weights, config),
        context_length=context_length(config, tokenizer),
        chat=traits.chat,
        tools=traits.tools,
        tool_parser=traits.tool_parser,
        thinking=traits.thinking,
        vision=traits.vision,
        embedding=traits.embedding,
        license=license_of(path),
        code=code_in(path, names),
        problem=problem_with(path, config, weights, sizes),
        modified_at=path.stat().st_mtime,
    )


def problem_with(path: Path, config: dict[str, Any], weights: list[Path], sizes: list[int]) -> str | None:
    """Return why a model cannot be loaded, in one line; None when it can."""
    if not weights:
        if any(path.glob("*.gguf")):
            return "GGUF only: pull an MLX version"
        if any(path.glob("*.bin")) or any(path.glob("*.pt")):
            return "PyTorch weights only: pull an MLX version"
        return "no weights: pull it again"
    if any(valid_text(file.name) != file.name for file in weights):
        return "the name of a weight file is not UTF-8: rename it"
    if not config:
        return "config.json is missing or damaged: pull it again"
    if (fault := absurd(config)) is not None:
        return fault
    index = read_index(path / "model.safetensors.index.json")
    wanted = index.get("weight_map") if index else None
    missing = {str(name) for name in wanted.values()} - {f.name for f in weights} if isinstance(wanted, dict) else set()
    if missing or 0 in sizes:
        return "incomplete: pull it again"
    if not any(file.name.startswith("model") for file in weights):
        if len(weights) == 1:
            return f"its weights are named {weights[0].name}: make them usable with `lmx import {path}`"
        return "not a language model: no model*.safetensors"
    return None


def license_of(path: Path) -> str | None:
    """Return the license that the front matter of the model card names."""
    try:
        with open_model_file(path / "README.md") as card:
            lines = card.read(MAX_CARD_BYTES).decode(errors="replace").splitlines()
    except OSError:
        return None
    if not lines or lines[0].strip() != "---":
        return None
    found = {"license": "", "license_name": ""}
    for line in lines[1:]:
        if line.strip() == "---":
            break
        key, colon, value = line.partition(":")
        if colon and key in found:
            found[key] = value.strip().strip("\"'")[:100]
    named = found["license_name"] if found["license"] in ("", "other") else ""
    return named or found["license"] or None


def quantization(config: dict[str, Any]) -> str | None:
    """Return the name of a quantization or of a type: "4-bit", "mxfp4", "bfloat16"; None when it is unknown."""
    for name in ("quantization", "quantization_config"):
        found = config.get(name)
        if isinstance(found, dict):
            mode, bits = found.get("mode"), found.get("bits")
            if isinstance(mode, str) and mode != "affine":
                return short_text(mode)
            if type(bits) is int and 0 < bits <= MAX_BITS:
                return f"{bits}-bit"
            if isinstance(method := found.get("quant_method"), str):
                return short_text(method)
    return short_text(config.get("torch_dtype") or config.get("dtype"))


def context_length(config: dict[str, Any], tokenizer: dict[str, Any]) -> int | None:
    """Return the longest context that the configs state, in tokens; None when it is unknown."""
    nested = config.get("text_config")
    for source in (nested if isinstance(nested, dict) else {}, config):
        for name in LENGTH_KEYS:
            if count := _length(source.get(name)):
                return count
    return _length(tokenizer.get("model_max_length"))


def _length(value: Any) -> int | None:
    """Return a number of tokens; None for values such as 1e30, which stands for "no limit"."""
    return value if type(value) is int and 0 < value < 100_000_000 else None


def template(path: Path, tokenizer: dict[str, Any]) -> str:
    """Return the text of the chat template; named templates are joined."""
    file = path / "chat_template.jinja"
    try:
        if (data := read_model_file(file, MAX_TEMPLATE_BYTES)) is not None:
            return data.decode(errors="replace")
    except FileNotFoundError:
        pass
    except OSError:
        return ""
    found = tokenizer.get("chat_template") or (read_object(path / "chat_template.json") or {}).get("chat_template")
    if isinstance(found, list):
        return "\n".join(str(entry.get("template", "")) for entry in found if isinstance(entry, dict))
    return found if isinstance(found, str) else ""


def short_text(value: Any) -> str | None:
    """Return a text of the model's files in one line of bounded length; None for other values."""
    return shortened(one_line(shortened(value, MAX_TEXT)), MAX_TEXT) if isinstance(value, str) else None

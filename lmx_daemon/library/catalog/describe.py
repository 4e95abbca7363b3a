"""What a model's files say of it, read by hand and cheaply: nothing is trusted, and nothing is loaded.

A repository that makes no sense is described as far as it goes, with the problem in one line; it never raises.
"""

from pathlib import Path
from typing import Any

from lmx_daemon.contract.text import valid_text
from lmx_daemon.contract.types import Model
from lmx_daemon.library.catalog.parameters import count_parameters
from lmx_daemon.library.catalog.traits import abilities
from lmx_daemon.library.disk.sizes import file_size
from lmx_daemon.library.verify.code_files import code_in
from lmx_daemon.memory.bounds import absurd
from lmx_daemon.storage.reading import open_model_file, read_index, read_model_file, read_object

MAX_BITS = 64
MAX_TEMPLATE_BYTES = 1024 * 1024
MAX_CARD_BYTES = 64 * 1024
LENGTH_KEYS = ("max_position_embeddings", "max_sequence_length", "seq_length", "n_positions")


def describe(identity: str, path: Path, source: Any, revision: str | None) -> Model | None:
    """The model in the folder `path`; None where the folder holds no language model at all."""
    config = read_object(path / "config.json")
    weights = sorted(path.glob("*.safetensors"))
    if config is None and not weights and not any(path.glob("*.gguf")):
        return None
    names = {file.name for file in path.iterdir()}
    tokenizer = read_object(path / "tokenizer_config.json") or {}
    text = template(path, tokenizer)
    config = config or {}
    sizes = [file_size(file) for file in weights]
    can = abilities(config, text, names)
    return Model(
        id=identity,
        path=str(path),
        source=source,
        revision=revision,
        size=sum(sizes),
        architecture=_text(config.get("model_type")),
        quantization=quantization(config),
        parameters=count_parameters(weights, config),
        context_length=context_length(config, tokenizer),
        chat=can.chat,
        tools=can.tools,
        tool_parser=can.tool_parser,
        thinking=can.thinking,
        vision=can.vision,
        embedding=can.embedding,
        license=license_of(path),
        code=code_in(path, names),
        problem=problem_with(path, config, weights, sizes),
        modified_at=path.stat().st_mtime,
    )


def problem_with(path: Path, config: dict[str, Any], weights: list[Path], sizes: list[int]) -> str | None:
    """Why it cannot be loaded, in one line."""
    if not weights:
        if any(path.glob("*.gguf")):
            return "GGUF only: pull an MLX version"
        if any(path.glob("*.bin")) or any(path.glob("*.pt")):
            return "PyTorch weights only: pull an MLX version"
        return "no weights: pull it again"
    if any(valid_text(file.name) != file.name for file in weights):
        return "the name of a weights' file is not UTF-8: rename it"
    if not config:
        return "config.json is missing or broken: pull it again"
    if (nonsense := absurd(config)) is not None:
        return nonsense
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
    """As the front matter of the model card says."""
    try:
        with open_model_file(path / "README.md") as card:
            lines = card.read(MAX_CARD_BYTES).decode(errors="replace").splitlines()
    except OSError:
        return None
    if not lines or lines[0].strip() != "---":
        return None
    told = {"license": "", "license_name": ""}
    for line in lines[1:]:
        if line.strip() == "---":
            break
        key, colon, value = line.partition(":")
        if colon and key in told:
            told[key] = value.strip().strip("\"'")[:100]
    named = told["license_name"] if told["license"] in ("", "other") else ""
    return named or told["license"] or None


def quantization(config: dict[str, Any]) -> str | None:
    """ "4-bit", "mxfp4", "bfloat16"."""
    for name in ("quantization", "quantization_config"):
        found = config.get(name)
        if isinstance(found, dict):
            mode, bits = found.get("mode"), found.get("bits")
            if isinstance(mode, str) and mode != "affine":
                return mode
            if type(bits) is int and 0 < bits <= MAX_BITS:
                return f"{bits}-bit"
            if isinstance(method := found.get("quant_method"), str):
                return method
    return _text(config.get("torch_dtype") or config.get("dtype"))


def context_length(config: dict[str, Any], tokenizer: dict[str, Any]) -> int | None:
    nested = config.get("text_config")
    for source in (nested if isinstance(nested, dict) else {}, config):
        for name in LENGTH_KEYS:
            if count := _length(source.get(name)):
                return count
    return _length(tokenizer.get("model_max_length"))


def _length(value: Any) -> int | None:
    """Tokens; None for what cannot be a number of them, as the 1e30 that stands for "no limit"."""
    return value if type(value) is int and 0 < value < 100_000_000 else None


def template(path: Path, tokenizer: dict[str, Any]) -> str:
    """The chat template's text; named ones joined."""
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


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None

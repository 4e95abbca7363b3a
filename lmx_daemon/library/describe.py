"""What a model's files say of it, read by hand and cheaply: nothing is trusted, and nothing is loaded.

A repository that makes no sense is described as far as it goes, with the problem in one line; it never raises.
"""

import json
import struct
from pathlib import Path
from typing import Any

from lmx_daemon.contract.types import Model

MAX_JSON_BYTES = 4 * 1024 * 1024
MAX_HEADER_BYTES = 64 * 1024 * 1024
MAX_TEMPLATE_BYTES = 1024 * 1024
CODE_KEYS = ("auto_map", "model_file", "trust_remote_code")
LENGTH_KEYS = ("max_position_embeddings", "max_sequence_length", "seq_length", "n_positions")
FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")


def describe(identity: str, path: Path, source: Any, revision: str | None) -> Model | None:
    """The model in the folder `path`; None where the folder holds no language model at all."""
    config = read_object(path / "config.json")
    weights = sorted(path.glob("*.safetensors"))
    if config is None and not weights and not any(path.glob("*.gguf")):
        return None
    tokenizer = read_object(path / "tokenizer_config.json") or {}
    template = _template(path, tokenizer)
    config = config or {}
    sizes = [size_of(file) for file in weights]
    return Model(
        id=identity,
        path=str(path),
        source=source,
        revision=revision,
        size=sum(sizes),
        architecture=_text(config.get("model_type")),
        quantization=quantization(config),
        parameters=parameters(weights),
        context_length=context_length(config, tokenizer),
        tools="tools" in template,
        thinking="<think>" in template or "enable_thinking" in template or "reasoning" in template,
        vision=False,
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
    if not config:
        return "config.json is missing or broken: pull it again"
    if any(config.get(key) for key in CODE_KEYS) or any(path.glob("*.py")):
        return "needs code from its repository, which lmx does not run"
    index = read_object(path / "model.safetensors.index.json")
    wanted = index.get("weight_map", {}) if index else {}
    missing = {str(name) for name in wanted.values()} - {file.name for file in weights} if wanted else set()
    if missing or 0 in sizes:
        return "incomplete: pull it again"
    if not any(file.name.startswith("model") for file in weights):
        return "not a language model: no model*.safetensors"
    return None


def read_object(file: Path) -> dict[str, Any] | None:
    """A JSON object, or None for anything else: missing, too large, not JSON, not an object."""
    try:
        if file.stat().st_size > MAX_JSON_BYTES and file.name != "model.safetensors.index.json":
            return None
        value = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def size_of(file: Path) -> int:
    """Bytes; 0 for a link into nothing."""
    try:
        return file.stat().st_size
    except OSError:
        return 0


def quantization(config: dict[str, Any]) -> str | None:
    """ "4-bit", "mxfp4", "bfloat16"."""
    for name in ("quantization", "quantization_config"):
        found = config.get(name)
        if isinstance(found, dict):
            mode, bits = found.get("mode"), found.get("bits")
            if isinstance(mode, str) and mode != "affine":
                return mode
            if isinstance(bits, int):
                return f"{bits}-bit"
            if isinstance(method := found.get("quant_method"), str):
                return method
    return _text(config.get("torch_dtype") or config.get("dtype"))


def context_length(config: dict[str, Any], tokenizer: dict[str, Any]) -> int | None:
    nested = config.get("text_config")
    for source in (nested if isinstance(nested, dict) else {}, config):
        for name in LENGTH_KEYS:
            if isinstance(value := source.get(name), int) and value > 0:
                return value
    limit = tokenizer.get("model_max_length")
    return limit if isinstance(limit, int) and 0 < limit < 100_000_000 else None


def parameters(weights: list[Path]) -> int | None:
    """Counted from the headers; None for quantised weights, whose packed shapes do not tell."""
    total = 0
    for file in weights:
        header = _header(file)
        if header is None:
            return None
        for entry in header.values():
            if not isinstance(entry, dict) or "shape" not in entry:
                continue
            if entry.get("dtype") not in FLOATS:
                return None
            count = 1
            for side in entry["shape"]:
                count *= side if isinstance(side, int) else 0
            total += count
    return total or None


def _header(file: Path) -> dict[str, Any] | None:
    try:
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            if length > MAX_HEADER_BYTES:
                return None
            value = json.loads(opened.read(length))
    except (OSError, ValueError, struct.error, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _template(path: Path, tokenizer: dict[str, Any]) -> str:
    """The chat template's text; named ones joined."""
    file = path / "chat_template.jinja"
    try:
        if file.is_file() and file.stat().st_size <= MAX_TEMPLATE_BYTES:
            return file.read_text(errors="replace")
    except OSError:
        return ""
    found = tokenizer.get("chat_template") or (read_object(path / "chat_template.json") or {}).get("chat_template")
    if isinstance(found, list):
        return "\n".join(str(entry.get("template", "")) for entry in found if isinstance(entry, dict))
    return found if isinstance(found, str) else ""


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None

"""Checks of a model's files before MLX or transformers read them. Nothing in a repository is trusted."""

import json
import stat
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from lmx_daemon.contract.errors import ModelLoadError, UntrustedModelError
from lmx_daemon.memory.bounds import absurd
from lmx_daemon.storage.foreign.reading import read_model_file
from lmx_daemon.storage.foreign.structure import exceeds

MAX_TEXT_BYTES = 64 * 1024 * 1024
"""Limit on a text file; tokenizer.json of the largest vocabularies has about 30 MB."""
MAX_VALUES = 4_000_000
"""Limit on JSON values in one file; a vocabulary of 262,144 tokens with its merges has 1.9 million."""
READ_WHOLE = ("tokenizer", "vocab", "merges", "chat_template", "generation_config")
CODE_KEYS = ("model_file", "auto_map", "trust_remote_code")
CODE_SUFFIXES = (".py", ".so", ".dylib")
MAX_TENSORS = 1_000_000
MAX_DIMENSIONS = 16
MAX_SIDE = 2**31 - 1
"""Limit on one dimension: MLX stores it in 32 bits."""


def check_model(path: Path, trusted: bool = False) -> dict[str, Any]:
    """Check the model's files and return its config.json. Raises UntrustedModelError or ModelLoadError.

    A trusted model may contain code; the other checks apply to it too.
    """
    if not path.is_dir():
        raise ModelLoadError(f"{path} is not a directory", hint="`lmx ls` shows the models that are here")
    config = _read_object(path / "config.json")
    for name in ("config.json", "tokenizer_config.json", "generation_config.json"):
        held = _read_object(path / name) if (path / name).exists() else {}
        if not trusted:
            _refuse_code(name, held)
    if (nonsense := absurd(config)) is not None:
        raise ModelLoadError(nonsense, hint="pull the model again")
    for file in sorted(path.iterdir()):
        _check_kind(file)
        if not trusted and file.suffix in CODE_SUFFIXES:
            raise UntrustedModelError(
                f"{file.name}: the repository carries code, and lmx runs none",
                hint="use a version of this model that mlx-lm supports by itself",
            )
        if file.suffix == ".json":
            _read_json(file)
    _check_weights(path)
    return config


def _refuse_code(name: str, config: dict[str, Any]) -> None:
    for key in CODE_KEYS:
        if config.get(key):
            raise UntrustedModelError(
                f"{name} names code to run ({key}), and lmx runs none",
                hint="use a version of this model that mlx-lm supports by itself",
            )


def _check_kind(file: Path) -> None:
    """Raise ModelLoadError for a file at which a loader would block, or that is too large to be read whole."""
    try:
        status = file.stat()
    except OSError:  # a broken link is refused where the file is needed
        return
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        raise ModelLoadError(f"{file.name} is not a regular file", hint="pull the model again")
    if file.suffix != ".safetensors" and file.name.startswith(READ_WHOLE) and status.st_size > MAX_TEXT_BYTES:
        raise ModelLoadError(f"{file.name} has {status.st_size} bytes; at most {MAX_TEXT_BYTES} are read")


def _read_json(file: Path) -> Any:
    try:
        data = read_model_file(file, MAX_TEXT_BYTES)
        if data is None:
            raise ModelLoadError(f"{file.name} has more than {MAX_TEXT_BYTES} bytes")
        if exceeds(data, MAX_VALUES) is not None:
            raise ModelLoadError(f"{file.name} holds more than {MAX_VALUES} JSON values")
        return json.loads(data)
    except FileNotFoundError:
        raise ModelLoadError(f"{file.name} is missing", hint="pull the model again") from None
    except (ValueError, RecursionError) as error:
        raise ModelLoadError(f"{file.name} is not JSON: {error}", hint="pull the model again") from error
    except OSError as error:
        raise ModelLoadError(f"{file.name}: {error.strerror or error}", hint="pull the model again") from error


def _read_object(file: Path) -> dict[str, Any]:
    value = _read_json(file)
    if not isinstance(value, dict):
        raise ModelLoadError(f"{file.name} is not a JSON object", hint="pull the model again")
    return value


def _check_weights(path: Path) -> None:
    files = sorted(path.glob("model*.safetensors"))
    if not files:
        raise ModelLoadError("there is no model*.safetensors", hint="lmx needs MLX weights, not GGUF or PyTorch ones")
    index = path / "model.safetensors.index.json"
    if index.exists():
        wanted = _read_object(index).get("weight_map")
        if not isinstance(wanted, dict):
            raise ModelLoadError(f"{index.name} names no weights", hint="pull the model again")
        missing = sorted({str(name) for name in wanted.values()} - {file.name for file in files})
        if missing:
            raise ModelLoadError(f"{missing[0]} is missing", hint="pull the model again")
    for file in files:
        try:
            # Unlike MLX's reader, the Rust reader finds overlaps, holes and trailing bytes.
            with safe_open(str(file), framework="numpy") as opened:
                _check_shapes(file.name, opened)
        except (SafetensorError, OSError) as error:
            raise ModelLoadError(f"{file.name} is broken: {error}", hint="pull the model again") from error


def _check_shapes(name: str, opened: Any) -> None:
    """Raise ModelLoadError for shapes that the format allows but no model has: they overflow MLX's integers."""
    tensors = opened.keys()
    if not tensors:
        raise ModelLoadError(f"{name} holds no tensors")
    if len(tensors) > MAX_TENSORS:
        raise ModelLoadError(f"{name} holds {len(tensors)} tensors, more than any model has")
    for tensor in tensors:
        shape = opened.get_slice(tensor).get_shape()
        if len(shape) > MAX_DIMENSIONS or any(side > MAX_SIDE for side in shape):
            raise ModelLoadError(f"{name} is broken: {tensor[:100]!r} has an absurd shape", hint="pull the model again")

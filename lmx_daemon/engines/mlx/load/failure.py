"""The error of a load for an exception of mlx-lm, MLX or transformers: it names the file and, if possible, the key.

The text of an exception that names Python types or attributes goes to the log only, because it describes the code of a
library and not the model.
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lmx_daemon.contract.errors import LmxError, ModelLoadError, OutOfMemoryError
from lmx_daemon.contract.text import shortened
from lmx_daemon.engines.mlx.load.config_fault import FIELD, config_fault, number_fault
from lmx_daemon.engines.mlx.out_of_memory import is_out_of_memory
from lmx_daemon.storage.foreign.reading import read_object

READABLE = (ValueError, RuntimeError, OSError)
"""Exceptions whose texts describe the model: shapes that do not fit, names of parameters, files."""
PYTHON_WORDS = re.compile(
    r"\b\w*(?:Error|Exception|Warning)\b|\bstd::|\bobject has no\b|\bNoneType\b|<class |'\w+' object"
)
"""Texts of exceptions about Python or C++ objects."""
MAX_TEXT = 400
SEE_LOG = "pull the model again, or another version of it; the log has the error of mlx-lm"
TOKENIZER_FILES = "tokenizer.json or tokenizer_config.json"


def load_failure(error: BaseException, path: Path) -> LmxError:
    """Return the error of a load for what the model in `path` has raised."""

    def reason() -> str:
        config, text = _config(path), _text(error)
        fault = config_fault(error, config) or (None if "parameter" in text else number_fault(error, config))
        return fault or text or _unknown(config)

    return _failure(error, reason)


def tokenizer_failure(error: BaseException, path: Path) -> LmxError:
    """Return the error of a load whose tokenizer cannot be read."""

    def reason() -> str:
        if FIELD.search(str(error)) and (fault := config_fault(error, _config(path))) is not None:
            return fault
        if isinstance(error, KeyError) and error.args:
            return f"{TOKENIZER_FILES}: {str(error.args[0])[:100]!r} is missing"
        return f"{TOKENIZER_FILES} cannot be used" + (f": {text}" if (text := _text(error)) else "")

    return _failure(error, reason)


def _failure(error: BaseException, reason: Callable[[], str]) -> LmxError:
    if isinstance(error, LmxError):
        return error
    if is_out_of_memory(error):
        detail = f": {text}" if (text := _text(error)) else ""
        return OutOfMemoryError(f"not enough memory for this model{detail}", hint="unload another model")
    return ModelLoadError(f"cannot load this model: {reason()}", hint=SEE_LOG)


def _text(error: BaseException) -> str:
    """Return the text of an exception if it describes the model, else an empty text."""
    text = " ".join(str(error).split())
    return shortened(text, MAX_TEXT) if isinstance(error, READABLE) and not PYTHON_WORDS.search(text) else ""


def _unknown(config: Mapping[str, Any]) -> str:
    kind = config.get("model_type")
    named = json.dumps(kind)[:100] if isinstance(kind, str) else "its architecture"
    return f"config.json or the weights hold a value that {named} cannot use"


def _config(path: Path) -> Mapping[str, Any]:
    return read_object(path / "config.json") or {}

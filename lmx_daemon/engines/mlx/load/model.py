"""Loading of a model: its files are checked, weights and tokenizer read, and its capabilities determined."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.utils import load_model, load_tokenizer

from lmx_daemon.contract.errors import LmxError
from lmx_daemon.contract.worker.messages import Capabilities, TextOptions
from lmx_daemon.engines.mlx import platform
from lmx_daemon.engines.mlx.load.failure import load_failure, tokenizer_failure
from lmx_daemon.engines.mlx.load.model_check import check_model

ReportProgress = Callable[[str, float | None], None]
UNLIMITED_CONTEXT = 32_768
"""Context length of models whose files have no limit (state-space models)."""
ABSURD_CONTEXT = 100_000_000
PIECE, LEAST_PIECE = 0.02, 128 * 1024**2
"""Steps in which progress is reported: a part of the weights, but at least so many bytes."""
CHAT_TEMPLATE_FILE = "chat_template.json"


@dataclass
class LoadedModel:
    """A model in memory, with its tokenizer."""

    model: Any
    tokenizer: Any
    defaults: dict[str, Any]
    """Content of generation_config.json."""
    capabilities: Capabilities
    vocabulary: int
    weights: int
    """Bytes of the weights."""
    dtype: str
    note: str


def load(path: Path, options: TextOptions, progress: ReportProgress, trusted: bool = False) -> LoadedModel:
    """Load the model in `path`. Engine thread only.

    Raises UntrustedModelError, ModelLoadError, OutOfMemoryError. Their cause is the exception of the library, if any.
    """
    progress("checking", None)
    config = check_model(path, trusted)
    try:
        return _load(path, config, options, progress, trusted)
    except LmxError:
        raise
    except Exception as error:  # foreign files cause any exception in mlx-lm
        raise load_failure(error, path) from error


def _load(
    path: Path, config: dict[str, Any], options: TextOptions, progress: ReportProgress, trusted: bool
) -> LoadedModel:
    progress("weights", 0.0)
    model, full_config = load_model(path, lazy=True, trust_remote_code=trusted)
    note, dtype = platform.backend().cast(model, dtype_of(model))
    with ThreadPoolExecutor(1, "tokenizer") as beside:  # reading weights does not need the GIL
        reading = beside.submit(_read_tokenizer, path, full_config.get("eos_token_id"), trusted)
        _evaluate(model, progress)
        progress("tokenizer", None)
        tokenizer = reading.result()
    weights = sum(value.nbytes for _, value in tree_flatten(model.parameters()))
    note = ", ".join(part for part in (note, platform.wire(options.wired, weights)) if part)
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        defaults=_read_defaults(path),
        capabilities=_capabilities(config, tokenizer, options),
        vocabulary=_vocabulary(config, tokenizer),
        weights=weights,
        dtype=dtype,
        note=note,
    )


def dtype_of(model: Any) -> str:
    """Return the most frequent floating-point type of the model's weights."""
    kinds = [value.dtype for _, value in tree_flatten(model.parameters()) if mx.issubdtype(value.dtype, mx.floating)]
    return str(max(set(kinds), key=kinds.count)).removeprefix("mlx.core.") if kinds else "unknown"


def _evaluate(model: Any, progress: ReportProgress) -> None:
    parameters = [value for _, value in tree_flatten(model.parameters())]
    total = sum(value.nbytes for value in parameters) or 1
    begun = done = pending = 0
    for index, value in enumerate(parameters, 1):
        pending += value.nbytes
        if pending >= max(LEAST_PIECE, PIECE * total) or index == len(parameters):
            mx.eval(parameters[begun:index])
            begun, done, pending = index, done + pending, 0
            progress("weights", done / total)


def _read_tokenizer(path: Path, ends: Any, trusted: bool) -> Any:
    try:
        tokenizer = load_tokenizer(path, {"trust_remote_code": trusted}, eos_token_ids=ends)
        _adopt_chat_template(tokenizer, path)
    except Exception as error:  # foreign files cause any exception in transformers
        raise tokenizer_failure(error, path) from error
    return tokenizer


def _adopt_chat_template(tokenizer: Any, path: Path) -> None:
    """Read the template of older repositories from a file that transformers reads for processors only."""
    file = path / CHAT_TEMPLATE_FILE
    if tokenizer.chat_template or not file.exists():
        return
    found = json.loads(file.read_bytes())
    if isinstance(found, dict) and isinstance(found.get("chat_template"), str):
        tokenizer._tokenizer.chat_template = found["chat_template"]


def _read_defaults(path: Path) -> dict[str, Any]:
    file = path / "generation_config.json"
    value = json.loads(file.read_bytes()) if file.exists() else {}
    return value if isinstance(value, dict) else {}


def _capabilities(config: dict[str, Any], tokenizer: Any, options: TextOptions) -> Capabilities:
    own = context_length(config, tokenizer)
    return Capabilities(
        context_length=min(own, options.context_length or own),
        tools=False,
        tool_parser=None,
        thinking=False,
        vision=False,
        chat=bool(tokenizer.has_chat_template or tokenizer.chat_template),
    )


def context_length(config: dict[str, Any], tokenizer: Any) -> int:
    """Return the context length in tokens that the model's files state."""
    nested = config.get("text_config")
    for source in (nested if isinstance(nested, dict) else {}, config):
        for name in ("max_position_embeddings", "max_sequence_length", "seq_length", "n_positions"):
            value = source.get(name)
            if isinstance(value, int) and 0 < value <= ABSURD_CONTEXT:
                return value
    limit = getattr(tokenizer, "model_max_length", None)
    return int(limit) if isinstance(limit, int) and 0 < limit < ABSURD_CONTEXT else UNLIMITED_CONTEXT


def _vocabulary(config: dict[str, Any], tokenizer: Any) -> int:
    nested = config.get("text_config")
    for source in (nested if isinstance(nested, dict) else {}, config):
        value = source.get("vocab_size")
        if isinstance(value, int) and value > 0:
            return value
    return len(tokenizer)

"""The size of a model on disk, read from config.json and the headers of its weights. The files are not trusted.

Invalid content is never an error: unreadable parts are left out, and the basis of the figures is "estimated".
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmx_daemon.contract.worker.cache_shape import Basis
from lmx_daemon.memory.architectures import language_part
from lmx_daemon.storage.foreign.reading import read_object, read_tensors

LENGTH_KEYS = ("max_position_embeddings", "max_sequence_length", "seq_length", "n_positions")
NOT_LOADED = frozenset(
    ("vision_tower", "vision_model", "visual", "multi_modal_projector", "audio_tower", "embed_vision", "mtp")
)
"""Names of modules that are not loaded with the language model."""
HALVES = ("BF16", "F16")


@dataclass(frozen=True)
class Weights:
    """Size of the loaded tensors in bytes, by their type in safetensors."""

    by_type: Mapping[str, int]
    basis: Basis

    @property
    def bytes(self) -> int:
        """Total size."""
        return sum(self.by_type.values())

    @property
    def element(self) -> int:
        """Size of a number in the most frequent float type, which keys and values use."""
        return 4 if self.by_type.get("F32", 0) > sum(self.by_type.get(kind, 0) for kind in HALVES) else 2


@dataclass(frozen=True)
class ModelShape:
    """Config and weights of a model."""

    config: Mapping[str, Any]
    weights: Weights

    def number(self, *names: str) -> int:
        """Return the first positive number under one of the names in the language model's config, or 0."""
        _, text = language_part(self.config)
        found = [value for name in names if isinstance(value := text.get(name), int) and 0 < value < 2**40]
        return int(found[0]) if found else 0

    @property
    def context(self) -> int | None:
        """Context length of the config; None if it has none."""
        return self.number(*LENGTH_KEYS) or None


def read_shape(folder: Path) -> ModelShape:
    """Return the shape of a model on disk."""
    config = read_object(folder / "config.json") or {}
    files = sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("*.safetensors"))
    headers = [read_tensors(file) for file in files]
    if headers and all(header is not None for header in headers):
        return ModelShape(config, weights_of((header for header in headers if header is not None), config))
    return ModelShape(config, guessed_weights(sum(map(_size_of, files)), config))


def weights_of(headers: Iterable[Mapping[str, Any]], config: Mapping[str, Any]) -> Weights:
    """Return the sizes counted from the headers of safetensors files, without tensors that are not loaded."""
    by_type: Counter[str] = Counter()
    left_out = False
    tied = bool(language_part(config)[1].get("tie_word_embeddings"))
    for header in headers:
        for name, entry in header.items():
            offsets = entry.get("data_offsets") if isinstance(entry, Mapping) else None
            if not (isinstance(offsets, list) and len(offsets) == 2 and all(isinstance(at, int) for at in offsets)):
                continue
            if not NOT_LOADED.isdisjoint(name.split(".")[:3]) or (tied and name == "lm_head.weight"):
                left_out = True
            else:
                by_type[str(entry.get("dtype"))] += max(0, offsets[1] - offsets[0])
    converted = "quantization" not in config and "quantization_config" in config
    return Weights(dict(by_type), "estimated" if converted else "computed" if left_out else "exact")


def guessed_weights(size: int, config: Mapping[str, Any]) -> Weights:
    """Return an estimate from the total size of the files, for models on the Hub."""
    quantised = bool(config.get("quantization") or config.get("quantization_config"))
    kind = "F32" if not quantised and config.get("torch_dtype", config.get("dtype")) == "float32" else "BF16"
    return Weights({"U32": size - size // 8, kind: size // 8} if quantised else {kind: size}, "estimated")


def _size_of(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0

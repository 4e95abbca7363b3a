"""The number of parameters of a model, from the headers of its weight files."""

from pathlib import Path
from typing import Any

from lmx_daemon.storage.foreign.safetensors import FLOATS, read_header

MAX_PARAMETERS = 2**50
"""Upper bound for a plausible number; a header that states more is not trusted."""


def count_parameters(weights: list[Path], config: dict[str, Any]) -> int | None:
    """Return the number of parameters in weight files; None when it is unknown.

    Packed (quantized) weights are counted by their scales.
    """
    total = 0
    for file in weights:
        tensors = read_header(file)
        if tensors is None:
            return None
        for name, tensor in tensors.items():
            stem, _, kind = name.rpartition(".")
            if kind in ("scales", "biases") and f"{stem}.weight" in tensors:
                continue
            if tensor.dtype in FLOATS:
                total += tensor.count
            elif kind == "weight" and (scales := tensors.get(f"{stem}.scales")) and (size := _group_size(config, stem)):
                total += scales.count * size
            else:
                return None
    return total if 0 < total <= MAX_PARAMETERS else None


def _group_size(config: dict[str, Any], layer: str) -> int | None:
    """Return the number of weights that share a scale in one layer; None when it is unknown."""
    for key in ("quantization", "quantization_config"):
        found = config.get(key)
        if isinstance(found, dict):
            own = found.get(layer)
            size = own.get("group_size") if isinstance(own, dict) else None
            size = size or found.get("group_size")
            if type(size) is int and 0 < size <= 4096:
                return size
    return None

"""Headers of safetensors files, read with limits: names, types and shapes, never a tensor. It trusts nothing."""

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_HEADER_BYTES = 64 * 1024 * 1024
MAX_DIMENSIONS = 16
BITS = {
    "F64": 64, "I64": 64, "U64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16, "I16": 16, "U16": 16,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I8": 8, "U8": 8, "BOOL": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}  # fmt: skip
FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")


@dataclass(frozen=True)
class Tensor:
    dtype: str
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        total = 1
        for side in self.shape:
            total *= side
        return total


def read_header(file: Path) -> dict[str, Tensor] | None:
    """The tensors of a file by name; None where it is no safetensors file that makes sense."""
    try:
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            if length > MAX_HEADER_BYTES:
                return None
            value = json.loads(opened.read(length))
    except (OSError, ValueError, struct.error, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    tensors = {str(name): _tensor(entry) for name, entry in value.items() if name != "__metadata__"}
    return None if None in tensors.values() else {name: found for name, found in tensors.items() if found}


def header_bytes(file: Path) -> bytes:
    """The header as it lies on disk, at most MAX_HEADER_BYTES. Raises OSError."""
    with file.open("rb") as opened:
        start = opened.read(8)
        length = int.from_bytes(start, "little")
        return start + opened.read(min(length, MAX_HEADER_BYTES))


def _tensor(entry: Any) -> Tensor | None:
    if not isinstance(entry, dict) or not isinstance(shape := entry.get("shape"), list) or len(shape) > MAX_DIMENSIONS:
        return None
    if not all(type(side) is int and 0 <= side < 2**40 for side in shape):
        return None
    return Tensor(str(entry.get("dtype")), tuple(shape))


def parameters(weights: list[Path], config: dict[str, Any]) -> int | None:
    """How many parameters the files hold; packed ones are counted by their scales. None where that cannot be told."""
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
            elif kind == "weight" and (scales := tensors.get(f"{stem}.scales")) and (size := _group(config, stem)):
                total += scales.count * size
            else:
                return None
    return total or None


def _group(config: dict[str, Any], layer: str) -> int | None:
    """Weights for each scale, of one layer."""
    for key in ("quantization", "quantization_config"):
        found = config.get(key)
        if isinstance(found, dict):
            own = found.get(layer)
            size = own.get("group_size") if isinstance(own, dict) else None
            size = size or found.get("group_size")
            if type(size) is int and 0 < size <= 4096:
                return size
    return None

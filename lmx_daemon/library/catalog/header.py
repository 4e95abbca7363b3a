"""Headers of safetensors files, read with limits: names, types and shapes, never a tensor. It trusts nothing."""

import math
from pathlib import Path
from typing import Annotated, Any

import msgspec

from lmx_daemon.storage.reading import read_tensors

MAX_DIMENSIONS = 16
MAX_PARAMETERS = 2**50
"""More than any model has; a header that claims more is not believed."""
BITS = {
    "F64": 64, "I64": 64, "U64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16, "I16": 16, "U16": 16,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I8": 8, "U8": 8, "BOOL": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}  # fmt: skip
FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
Side = Annotated[int, msgspec.Meta(ge=0, lt=2**40)]


class Tensor(msgspec.Struct, frozen=True, gc=False):
    """One entry of a header. Without a shape it is no tensor."""

    dtype: str
    shape: Annotated[tuple[Side, ...], msgspec.Meta(max_length=MAX_DIMENSIONS)] | None

    @property
    def count(self) -> int:
        return math.prod(self.shape or ())


def read_header(file: Path) -> dict[str, Tensor] | None:
    """Return the tensors of a file by name; None where it is no safetensors file that makes sense."""
    try:
        tensors = msgspec.convert(read_tensors(file), dict[str, Tensor])
    except (msgspec.ValidationError, UnicodeError):
        return None
    return None if any(tensor.shape is None for tensor in tensors.values()) else tensors


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
    return total if 0 < total <= MAX_PARAMETERS else None


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

"""Validated headers of safetensors files: names, types and shapes of tensors. No tensor is read."""

import math
from pathlib import Path
from typing import Annotated

import msgspec

from lmx_daemon.storage.foreign.reading import read_tensors

MAX_DIMENSIONS = 16
BITS = {
    "F64": 64, "I64": 64, "U64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16, "I16": 16, "U16": 16,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I8": 8, "U8": 8, "BOOL": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}  # fmt: skip
"""Bits of one element, by type."""
FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
Dimension = Annotated[int, msgspec.Meta(ge=0, lt=2**40)]


class Tensor(msgspec.Struct, frozen=True, gc=False):
    """Entry of a header. An entry without a shape is not a tensor."""

    dtype: str
    shape: Annotated[tuple[Dimension, ...], msgspec.Meta(max_length=MAX_DIMENSIONS)] | None

    @property
    def count(self) -> int:
        """Number of elements."""
        return math.prod(self.shape or ())


def read_header(file: Path) -> dict[str, Tensor] | None:
    """Return the tensors of a file by name; None when it is not a valid safetensors file."""
    try:
        tensors = msgspec.convert(read_tensors(file), dict[str, Tensor])
    except (msgspec.ValidationError, UnicodeError):
        return None
    return None if any(tensor.shape is None for tensor in tensors.values()) else tensors

"""Width and height of an image, read from its header. No pixel is decoded.

Sources: the PNG specification (IHDR), ITU-T T.81 (JPEG), the GIF89a specification, and RFC 9649 (WebP).
"""

import struct
from collections.abc import Callable
from typing import NamedTuple

MAX_SEGMENTS = 1000
"""JPEG segments that are read up to the frame header. Color profiles and metadata need less than 400."""
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of a JPEG frame header. The three others of the range are tables and an extension."""
JPEG_BARE = frozenset((0x01, *range(0xD0, 0xD8)))
"""Markers of JPEG segments without a length."""


class Dimensions(NamedTuple):
    """Width and height in pixels."""

    width: int
    height: int


def png_dimensions(data: bytes) -> Dimensions | None:
    """Return the dimensions of a PNG; None if its first chunk is not IHDR."""
    if len(data) < 24 or data[12:16] != b"IHDR":
        return None
    return Dimensions(*struct.unpack_from(">II", data, 16))


def gif_dimensions(data: bytes) -> Dimensions | None:
    """Return the dimensions of the logical screen of a GIF; None if they are missing."""
    return Dimensions(*struct.unpack_from("<HH", data, 6)) if len(data) >= 10 else None


def jpeg_dimensions(data: bytes) -> Dimensions | None:
    """Return the dimensions in the frame header of a JPEG; None if there is none among the first segments."""
    at = 2
    for _ in range(MAX_SEGMENTS):
        if len(data) < at + 9 or data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker in JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return Dimensions(width, height)
        if marker == 0xFF:  # a fill byte
            at += 1
        else:
            at += 2 + (0 if marker in JPEG_BARE else int.from_bytes(data[at + 2 : at + 4], "big"))
    return None


def webp_dimensions(data: bytes) -> Dimensions | None:
    """Return the dimensions of a WebP, whose first chunk is lossy, lossless or extended; None for another chunk."""
    kind, chunk = data[12:16], data[20:30]
    if kind == b"VP8 " and len(chunk) == 10 and chunk[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", chunk, 6)
        return Dimensions(width & 0x3FFF, height & 0x3FFF)
    if kind == b"VP8L" and len(chunk) >= 5 and chunk[0] == 0x2F:
        packed = int.from_bytes(chunk[1:5], "little")
        return Dimensions((packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1)
    if kind == b"VP8X" and len(chunk) == 10:
        return Dimensions(int.from_bytes(chunk[4:7], "little") + 1, int.from_bytes(chunk[7:10], "little") + 1)
    return None


READERS: dict[str, Callable[[bytes], Dimensions | None]] = {
    "image/png": png_dimensions,
    "image/jpeg": jpeg_dimensions,
    "image/gif": gif_dimensions,
    "image/webp": webp_dimensions,
}
"""Reader of each media type. It returns None for a header that states no dimensions."""

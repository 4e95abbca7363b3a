"""Images for requests: small valid ones, and headers that state any size."""

import base64
import struct
import zlib


def png(width: int = 1, height: int = 1) -> bytes:
    """Return a PNG whose header states these dimensions. It has one grey pixel of data."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0\0")), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def encoded(data: bytes) -> str:
    """Return the data in base64."""
    return base64.b64encode(data).decode()


def data_url(data: bytes, media_type: str = "image/png") -> str:
    """Return the data as a data URL."""
    return f"data:{media_type};base64,{encoded(data)}"

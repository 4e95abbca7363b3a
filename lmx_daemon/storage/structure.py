"""The number of values in a JSON document, counted before the document is decoded.

A decoder holds the interpreter lock until it is done, and an empty object takes twenty times its text in memory. The
count works in pieces, releases the lock between them, and stops at its limit.
"""

PIECE = 256 * 1024


def exceeds(data: bytes, most: int) -> int | None:
    """Return the approximate offset at which `data` exceeds `most` JSON values, or None if it does not.

    Values are members, elements and containers.
    """
    if (
        data.count(b",") + data.count(b"{") + data.count(b"[") <= most
    ):  # an upper bound, since strings contain these characters too
        return None
    found, inside, start = 0, False, 0
    while start < len(data):
        end = _end_of_piece(data, start)
        piece = data[start:end]
        if b"\\" in piece:  # in strings only; after this, each quote begins or ends a string
            piece = piece.replace(b"\\\\", b"").replace(b'\\"', b"")
        parts = piece.split(b'"')
        structure = b"".join(parts[inside::2])
        found += structure.count(b",") + structure.count(b"{") + structure.count(b"[")
        if found > most:
            return end
        inside ^= len(parts) % 2 == 0
        start = end
    return None


def _end_of_piece(data: bytes, start: int) -> int:
    """Return the end of the piece, which is never between a backslash and the escaped character."""
    end = min(start + PIECE, len(data))
    while end < len(data) and data[end - 1] == 0x5C:
        end += 1
    return end

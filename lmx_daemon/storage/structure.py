"""The size of a JSON document's structure, counted before anything decodes it.

Decoders hold the interpreter until they are done, and an empty object costs twenty times its text in memory. The count
works in pieces, gives the interpreter back between them, and stops at its limit.
"""

PIECE = 256 * 1024


def exceeds(data: bytes, most: int) -> int | None:
    """Return about where `data`, as JSON, holds more than `most` values (members, elements, containers), if it does."""
    if data.count(b",") + data.count(b"{") + data.count(b"[") <= most:  # an upper bound: texts hold these, too
        return None
    found, inside, start = 0, False, 0
    while start < len(data):
        end = _end_of_piece(data, start)
        piece = data[start:end]
        if b"\\" in piece:  # within texts only; afterwards each quote begins or ends a text
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
    """Return where the piece ends: never between a backslash and what it escapes."""
    end = min(start + PIECE, len(data))
    while end < len(data) and data[end - 1] == 0x5C:
        end += 1
    return end

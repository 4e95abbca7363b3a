"""The number of values in a JSON document, counted before the document is decoded.

A decoder holds the interpreter lock until it is done, and an empty object takes twenty times its text in memory. The
count works in pieces, releases the lock between them, and stops at its limit.
"""

PIECE = 256 * 1024
DIGITS = bytes.maketrans(b"123456789-", b"0000000000")
"""Table that makes the begin of each number a 0, so that the numbers of an array can be counted."""


def exceeds(data: bytes, most: int, most_numbers: int | None = None) -> int | None:
    """Return the approximate offset at which `data` exceeds `most` JSON values, or None if it does not.

    Values are members, elements and containers. With `most_numbers`, the numbers in arrays have this limit of their
    own, because they take less time and memory than other values.
    """
    if (
        data.count(b",") + data.count(b"{") + data.count(b"[") <= most
    ):  # an upper bound, since strings contain these characters too
        return None
    found, numbers, inside, start = 0, 0, False, 0
    while start < len(data):
        end = _end_of_piece(data, start)
        piece = data[start:end]
        if b"\\" in piece:  # in strings only; after this, each quote begins or ends a string
            piece = piece.replace(b"\\\\", b"").replace(b'\\"', b"")
        parts = piece.split(b'"')
        structure = b"".join(parts[inside::2])
        apart = _numbers(structure) if most_numbers is not None else 0
        numbers += apart
        found += structure.count(b",") + structure.count(b"{") + structure.count(b"[") - apart
        if found > most or numbers > (most_numbers or 0):
            return end
        inside ^= len(parts) % 2 == 0
        start = end
    return None


def _numbers(structure: bytes) -> int:
    """Return the number of array elements in `structure` that are numbers and follow another element."""
    digits = structure.translate(DIGITS, b" \t\r\n")
    return digits.count(b",0")


def _end_of_piece(data: bytes, start: int) -> int:
    """Return the end of the piece, which is never between a backslash and the escaped character."""
    end = min(start + PIECE, len(data))
    while end < len(data) and data[end - 1] == 0x5C:
        end += 1
    return end

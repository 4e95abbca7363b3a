"""Bodies that no route of any dialect accepts."""

NOT_JSON = [
    b"{",
    b"[]",
    b'"x"',
    b"\xff",
    b'{"model": NaN}',
    b'{"model": "\\ud83d"}',
    b'{"model": 1e999}',
    b"[" * 100_000,
    b'{"model": ' * 100_000,
]
"""Bodies that are no JSON object: cut, not an object, not UTF-8, NaN, half a character, out of range, deep."""

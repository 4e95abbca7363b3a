"""The type of an image file, by its first bytes. Pure."""

IMAGES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif", b"RIFF": "image/webp"}
"""First bytes of a file -> type of the image."""


def image_type(data: bytes) -> str | None:
    """Return the type of an image; None if the data is not an image."""
    found = next((kind for begin, kind in IMAGES.items() if data.startswith(begin)), None)
    return None if found == "image/webp" and data[8:12] != b"WEBP" else found

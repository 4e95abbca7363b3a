"""Dimensions from headers, compared with the files that Pillow writes, and headers that are cut or hostile."""

import io
from typing import Any

import pytest
from PIL import Image

from lmx_daemon.http.images.dimensions import MAX_SEGMENTS, READERS, jpeg_dimensions
from tests.pictures import png


def written(kind: str, size: tuple[int, int], **options: Any) -> bytes:
    """Return an image as Pillow writes it."""
    target = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(target, kind, **options)
    return target.getvalue()


FORMS: list[tuple[str, dict[str, Any]]] = [
    ("png", {}),
    ("gif", {}),
    ("jpeg", {}),
    ("jpeg", {"progressive": True, "exif": b"Exif\0\0" + bytes(3000)}),
    ("webp", {}),
    ("webp", {"lossless": True}),
    ("webp", {"exif": b"Exif\0\0" + bytes(30)}),
]


@pytest.mark.parametrize(("kind", "options"), FORMS)
@pytest.mark.parametrize("size", [(1, 1), (300, 7), (17, 4000)])
def test_dimensions_are_those_of_the_file(kind: str, options: dict[str, Any], size: tuple[int, int]) -> None:
    assert READERS[f"image/{kind}"](written(kind, size, **options)) == size


@pytest.mark.parametrize(("kind", "options"), FORMS)
def test_a_header_cut_at_any_byte_states_nothing_or_the_dimensions(kind: str, options: dict[str, Any]) -> None:
    data, read = written(kind, (300, 7), **options), READERS[f"image/{kind}"]
    assert {read(data[:end]) for end in range(min(len(data), 4000))} <= {None, (300, 7)}


def test_a_png_without_its_header_chunk_states_nothing() -> None:
    assert READERS["image/png"](png().replace(b"IHDR", b"IDAT")) is None


def test_a_jpeg_of_empty_segments_is_read_up_to_the_bound() -> None:
    frame = b"\xff\xc0\x00\x11\x08\x00\x05\x00\x06" + bytes(8)
    assert jpeg_dimensions(b"\xff\xd8" + b"\xff\xfe\x00\x02" * 900 + b"\xff\xff" + frame) == (6, 5)
    assert jpeg_dimensions(b"\xff\xd8" + b"\xff\xfe\x00\x02" * MAX_SEGMENTS + frame) is None

"""Images in bodies: formats, bounds, and URLs that are not fetched."""

import pytest

from lmx_daemon.contract.errors import RequestError, UnsupportedError
from lmx_daemon.http.images import inline
from tests.pictures import encoded, png

PNG = png()
JPEG = b"\xff\xd8\xff\xc0\x00\x0b\x08\x00\x02\x00\x02\x01\x01\x11\x00"
GIF = b"GIF89a\x02\x00\x02\x00"
WEBP = b"RIFF\x00\x00\x00\x00WEBPVP8L\x05\x00\x00\x00\x2f\x01\x40\x00\x00"


@pytest.mark.parametrize(
    ("data", "kind"),
    [(PNG, "image/png"), (JPEG, "image/jpeg"), (GIF, "image/gif"), (WEBP, "image/webp")],
)
def test_format_is_read_from_the_bytes(data: bytes, kind: str) -> None:
    assert inline.image_of_base64(encoded(data), "images[0]").media_type == kind


def test_data_url_with_parameters_and_a_wrong_type_is_accepted() -> None:
    part = inline.image_of_url("data:image/jpeg;charset=utf-8;base64," + encoded(PNG), "image_url")
    assert part.data == PNG and part.media_type == "image/png"


def test_line_breaks_in_base64_are_accepted() -> None:
    text = encoded(PNG)
    assert inline.image_of_base64(text[:8] + "\n" + text[8:], "images[0]").data == PNG


@pytest.mark.parametrize(
    "url", ["ftp://example.org/a.png", "file:///etc/passwd", "FILE:///etc", "data:image/png,abc", ""]
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(UnsupportedError) as error:
        inline.image_of_url(url, "messages[0].content[1].image_url.url")
    assert error.value.param == "messages[0].content[1].image_url.url"


@pytest.mark.parametrize("text", ["", "%%%", encoded(b"no image"), encoded(b"RIFFxxxxAVI ")])
def test_data_that_is_no_image_is_refused_by_its_place(text: str) -> None:
    with pytest.raises(RequestError) as error:
        inline.image_of_base64(text, "images[0]")
    assert error.value.param == "images[0]"


def test_an_image_above_the_bound_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inline, "MAX_IMAGE_BYTES", 10)
    with pytest.raises(RequestError, match="more than 10 bytes"):
        inline.image_of_base64(encoded(PNG), "images[0]")


@pytest.mark.parametrize("size", [(8001, 8000), (2**31, 2**31)])
def test_an_image_with_too_many_pixels_is_refused_by_its_header(size: tuple[int, int]) -> None:
    with pytest.raises(RequestError, match=rf"images\[0\]: the image has {size[0]} x {size[1]} pixels"):
        inline.image_of_base64(encoded(png(*size)), "images[0]")
    assert inline.image_of_base64(encoded(png(8000, 8000)), "images[0]").data


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a", png(0, 5)])
def test_an_image_without_dimensions_is_refused(data: bytes) -> None:
    with pytest.raises(RequestError, match="no width and height"):
        inline.image_of_base64(encoded(data), "images[0]")

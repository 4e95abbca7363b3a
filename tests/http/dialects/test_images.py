"""Images in bodies: formats, bounds, and URLs that are not fetched."""

import base64

import pytest

from lmx_daemon.contract.errors import RequestError, UnsupportedError
from lmx_daemon.http.dialects import images

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
WEBP = b"RIFF\x00\x00\x00\x00WEBPVP8 "


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("data", "kind"),
    [(PNG, "image/png"), (b"\xff\xd8\xff\xe0", "image/jpeg"), (b"GIF89a", "image/gif"), (WEBP, "image/webp")],
)
def test_format_is_read_from_the_bytes(data: bytes, kind: str) -> None:
    assert images.image_of_base64(encoded(data), "images[0]").media_type == kind


def test_data_url_with_parameters_and_a_wrong_type_is_accepted() -> None:
    part = images.image_of_url("data:image/jpeg;charset=utf-8;base64," + encoded(PNG), "image_url")
    assert part.data == PNG and part.media_type == "image/png"


def test_line_breaks_in_base64_are_accepted() -> None:
    text = encoded(PNG)
    assert images.image_of_base64(text[:8] + "\n" + text[8:], "images[0]").data == PNG


@pytest.mark.parametrize("url", ["https://example.org/a.png", "file:///etc/passwd", "data:image/png,abc", ""])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(UnsupportedError) as error:
        images.image_of_url(url, "messages[0].content[1].image_url.url")
    assert error.value.param == "messages[0].content[1].image_url.url"


@pytest.mark.parametrize("text", ["", "%%%", encoded(b"no image"), encoded(b"RIFFxxxxAVI ")])
def test_data_that_is_no_image_is_refused_by_its_place(text: str) -> None:
    with pytest.raises(RequestError) as error:
        images.image_of_base64(text, "images[0]")
    assert error.value.param == "images[0]"


def test_an_image_above_the_bound_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_IMAGE_BYTES", 10)
    with pytest.raises(RequestError, match="more than 10 bytes"):
        images.image_of_base64(encoded(PNG), "images[0]")

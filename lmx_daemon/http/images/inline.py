"""Images in bodies: base64 texts and data URLs decoded to bytes, with limits in bytes and in pixels.

An image that a body names by address becomes a RemoteImage. No address is accessed here: remote.py fetches the image.
"""

import base64
import binascii
import re

from lmx_daemon.contract.errors import RequestError, UnsupportedError
from lmx_daemon.contract.generation.requests import ImagePart
from lmx_daemon.http.images.dimensions import READERS

MAX_IMAGE_BYTES = 20 * 1024 * 1024
MAX_PIXELS = 64_000_000
"""Maximum of width times height: 8,000 by 8,000 pixels. Such an image takes 192 MB once decoded."""
DATA_URL = re.compile(r"data:([\w./+-]{1,64})?(?:;[\w=-]{1,64})*?;base64,", re.ASCII)
SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
)
"""First bytes of the accepted formats. Declared types are ignored, since clients declare wrong ones."""


class RemoteImage(ImagePart, frozen=True):
    """Image that is not fetched yet. Its data is empty."""

    url: str
    place: str
    """Place of the image in the body, for errors."""


def image_of_url(url: str, place: str) -> ImagePart:
    """Return the image of a data URL, or a RemoteImage for an address. Raise UnsupportedError, RequestError."""
    if url[:8].lower().startswith(("http://", "https://")):
        return RemoteImage(data=b"", media_type="", url=url, place=place)
    match = DATA_URL.match(url)
    if match is None:
        raise UnsupportedError(
            f"{place}: only data:, https: and http: URLs are accepted",
            param=place,
            hint="send the image itself: data:image/png;base64,...",
        )
    return image_of_base64(url[match.end() :], place)


def image_of_base64(text: str, place: str) -> ImagePart:
    """Return the image of a base64 text. Raise RequestError that names the field for bad, empty or too large data."""
    if len(text) > MAX_IMAGE_BYTES * 4 // 3 + 4:
        raise RequestError(f"{place}: the image has more than {MAX_IMAGE_BYTES} bytes", param=place)
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise RequestError(f"{place}: the image is not base64", param=place) from None
    return image_of_bytes(data, place)


def image_of_bytes(data: bytes, place: str) -> ImagePart:
    """Return the image. Raise RequestError that names the field for another format or too many pixels."""
    media_type = next((kind for signature, kind in SIGNATURES if data.startswith(signature)), None)
    if media_type is None or (media_type == "image/webp" and data[8:12] != b"WEBP"):
        raise RequestError(f"{place}: the image is not a PNG, JPEG, GIF or WebP", param=place)
    found = READERS[media_type](data)
    if found is None or not found.width or not found.height:
        raise RequestError(f"{place}: the header of the image states no width and height", param=place)
    if found.width * found.height > MAX_PIXELS:
        raise RequestError(
            f"{place}: the image has {found.width} x {found.height} pixels; at most {MAX_PIXELS} are accepted",
            param=place,
            hint="scale the image down; models see far fewer pixels",
        )
    return ImagePart(data=data, media_type=media_type)

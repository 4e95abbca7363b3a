"""Decisions on the addresses of images: which URL is accepted, and which network addresses are public. Pure."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

import httpx2

from lmx_daemon.contract.errors import RequestError, UnsupportedError
from lmx_daemon.http.images.inline import RemoteImage

MAX_URL_CHARACTERS = 8000


def checked_url(image: RemoteImage, hosts: Sequence[str]) -> httpx2.URL:
    """Return the address of an image. Raise UnsupportedError for a host that is not among `hosts`."""
    try:
        url = httpx2.URL(image.url[:MAX_URL_CHARACTERS])
        host = host_of(url)
    except (httpx2.InvalidURL, UnicodeError):
        raise RequestError(f"{image.place}: the address of the image is not valid", param=image.place) from None
    if host not in {allowed.lower() for allowed in hosts}:
        raise UnsupportedError(
            f"{image.place}: images are not fetched from {host[:200]!r}",
            param=image.place,
            hint="send the image itself (data:image/png;base64,...), or allow the host in [server] image_hosts",
        )
    if url.port is not None or url.userinfo or len(image.url) > MAX_URL_CHARACTERS:
        raise UnsupportedError(
            f"{image.place}: the address has a port, a user or more than {MAX_URL_CHARACTERS} characters",
            param=image.place,
        )
    return url


def host_of(url: httpx2.URL) -> str:
    """Return the host of an address in ASCII, lower case, without a trailing dot."""
    return url.raw_host.decode().lower().removesuffix(".")


def public_addresses(found: Sequence[str]) -> list[IPv4Address | IPv6Address]:
    """Return the addresses; an empty list if one is not public, since the host may be in a private network."""
    addresses = [ip_address(text.partition("%")[0]) for text in found]
    return addresses if all(is_public(address) for address in addresses) else []


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Return whether an address is on the internet. 6to4 addresses, which a relay forwards, are not."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address.sixtofour is not None or address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved

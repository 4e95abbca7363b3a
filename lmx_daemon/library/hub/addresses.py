"""Addresses of Hubs: their check, and their parts without credentials. Pure."""

from collections.abc import Iterable
from urllib.parse import urlsplit

from lmx_daemon.contract.errors import RequestError


def checked_endpoint(endpoint: str | None) -> str | None:
    """Return the address of a Hub that a request names. Raises RequestError."""
    if endpoint is not None and not endpoint.startswith(("https://", "http://")):
        shown = without_credentials(f"://{endpoint}").removeprefix("://")[:200]
        raise RequestError(f"{shown!r} is not the address of a Hub", param="endpoint", hint="see HF_ENDPOINT")
    return endpoint


def without_credentials(endpoint: str) -> str:
    """Return the address without a user and password, because other programs and users can read manifests."""
    scheme, separator, rest = endpoint.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"


def completed_address(endpoint: str | None, known: Iterable[str | None]) -> str | None:
    """Return the first of the `known` addresses that is `endpoint` with credentials, else `endpoint`."""
    found = (one for one in known if one and endpoint and without_credentials(one).rstrip("/") == endpoint.rstrip("/"))
    return next(found, endpoint)


def origin(url: str) -> tuple[str, str]:
    """Return the scheme, and the host with its port, of an address; two empty texts for an invalid one."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "", ""
    return parts.scheme, parts.netloc.rpartition("@")[2].lower()

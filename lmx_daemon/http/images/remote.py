"""Images that a request names by address: fetched from the hosts of [server] image_hosts, else refused.

The daemon accesses addresses that clients name, so every step is bounded: one resolution of the host, no private
address, a connection to the resolved address, no redirect, and limits on bytes, time and content type.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar
from urllib.request import getproxies, proxy_bypass

import httpx2
import msgspec

from lmx_daemon.contract.errors import RequestError
from lmx_daemon.contract.generation.requests import Chat, ImagePart, Message, Request
from lmx_daemon.http.images.addresses import checked_url, host_of, public_addresses
from lmx_daemon.http.images.inline import MAX_IMAGE_BYTES, RemoteImage, image_of_bytes
from lmx_daemon.settings.schema import ServerSettings

A = TypeVar("A", bound=Request)
MAX_FETCHED = 16
"""Maximum number of different URLs in one request."""
FETCH_SECONDS = 30.0
"""Limit on the time of all fetches of one request."""
CONNECT_SECONDS = 5.0
FETCHES_AT_ONCE = 8


async def resolved(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a host, in the system's order. Raise OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


def proxy_of(scheme: str, host: str) -> str | None:
    """Return the URL of the proxy for a host, which the environment or macOS names; None without one."""
    if proxy_bypass(host):
        return None
    proxies = getproxies()
    found = proxies.get(scheme) or proxies.get("all")
    return found if not found or "://" in found else f"http://{found}"


class RemoteImages:
    """The fetches of images for all requests. Event loop only."""

    def __init__(
        self,
        settings: Callable[[], ServerSettings],
        resolve: Callable[[str, int], Awaitable[Sequence[str]]] = resolved,
        new_transport: Callable[[str | None], httpx2.AsyncBaseTransport] | None = None,
        proxy: Callable[[str, str], str | None] = proxy_of,
    ) -> None:
        self._settings = settings
        self._resolve = resolve
        self._new_transport = new_transport or new_connections
        self._proxy = proxy
        self._clients: dict[str | None, httpx2.AsyncClient] = {}
        """Clients by the URL of their proxy."""
        self._slots = asyncio.Semaphore(FETCHES_AT_ONCE)

    async def fetched(self, asked: A) -> A:
        """Return the request with the data of its images. Raise RequestError that names the place of an image."""
        remote = {part.url: part for part in remote_images(asked)}
        urls = [checked_url(part, self._settings().image_hosts) for part in remote.values()]
        found: dict[str, ImagePart] = {}
        deadline = asyncio.get_running_loop().time() + FETCH_SECONDS
        left = self._settings().max_body_bytes
        for url, part in zip(urls, remote.values(), strict=True):
            if len(found) == MAX_FETCHED:
                raise RequestError(
                    f"{part.place}: a request names at most {MAX_FETCHED} images by address", param=part.place
                )
            try:
                async with asyncio.timeout_at(deadline), self._slots:
                    found[part.url] = await self._image(part.place, url, left)
            except TimeoutError:
                raise failure(part.place, f"all fetches took more than {FETCH_SECONDS:.0f} s") from None
            left -= len(found[part.url].data)
        return with_images(asked, found)

    async def _image(self, place: str, url: httpx2.URL, limit: int) -> ImagePart:
        """Return one image of at most `limit` bytes. The addresses of its host are tried in order."""
        host = host_of(url)
        try:
            addresses = public_addresses(await self._resolve(host, 443 if url.scheme == "https" else 80))
        except (OSError, UnicodeError):
            raise failure(place, f"{host} cannot be resolved") from None
        if not addresses:
            raise failure(place, f"{host} resolves to an address of a private network")
        reason = ""
        for address in addresses:
            try:
                return image_of_bytes(await self._bytes(place, url.copy_with(host=str(address)), host, limit), place)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:  # a certificate that is not valid, too
                reason = str(error) or type(error).__name__
            except httpx2.HTTPError as error:
                raise failure(place, str(error) or type(error).__name__) from None
        raise failure(place, f"no connection to {host}: {reason}")

    async def _bytes(self, place: str, url: httpx2.URL, host: str, limit: int) -> bytes:
        """Return the content at `url`, whose host is a network address. Request and TLS name `host`."""
        proxy = self._proxy(url.scheme, host)
        if proxy not in self._clients:
            self._clients[proxy] = client_over(await asyncio.to_thread(self._new_transport, proxy))
        headers = {"host": host, "accept": "image/*", "accept-encoding": "identity", "user-agent": "lmx"}
        client, extensions = self._clients[proxy], {"sni_hostname": host}
        async with client.stream("GET", url, headers=headers, extensions=extensions) as response:
            if response.status_code != 200:
                raise failure(place, f"{host} answers with status {response.status_code}; redirects are not followed")
            kind = response.headers.get("content-type", "")
            if not kind.startswith("image/") or "content-encoding" in response.headers:
                raise failure(place, f"{host} sends {kind[:80]!r}, which is not an uncompressed image")
            content = bytearray()
            async for chunk in response.aiter_raw():
                content += chunk
                if len(content) > min(limit, MAX_IMAGE_BYTES):
                    raise failure(place, f"it has more than {min(limit, MAX_IMAGE_BYTES)} bytes")
            return bytes(content)


def remote_images(asked: Request) -> list[RemoteImage]:
    """Return the images of a request that are not fetched yet."""
    if not isinstance(asked.prompt, Chat):
        return []
    return [part for message in asked.prompt.messages for part in message.content if isinstance(part, RemoteImage)]


def with_images(asked: A, found: dict[str, ImagePart]) -> A:
    """Return the request with the images in `found`, by their addresses."""

    def fetched(message: Message) -> Message:
        content = tuple(found[part.url] if isinstance(part, RemoteImage) else part for part in message.content)
        return msgspec.structs.replace(message, content=content)

    assert isinstance(asked.prompt, Chat)
    messages = tuple(fetched(message) for message in asked.prompt.messages)
    return msgspec.structs.replace(asked, prompt=msgspec.structs.replace(asked.prompt, messages=messages))


def failure(place: str, reason: str) -> RequestError:
    """Return the error of an image that cannot be fetched."""
    return RequestError(f"{place}: the image cannot be fetched: {reason}", param=place)


def new_connections(proxy: str | None) -> httpx2.AsyncBaseTransport:
    """Return a transport that opens a connection for each request. It reads certificates from the disk.

    No connection is reused: one to the same network address may have a certificate that was checked for another host.
    """
    return httpx2.AsyncHTTPTransport(proxy=proxy, limits=httpx2.Limits(max_keepalive_connections=0))


def client_over(transport: httpx2.AsyncBaseTransport) -> httpx2.AsyncClient:
    """Return a client that follows no redirect. The transport decides on the proxy."""
    return httpx2.AsyncClient(
        transport=transport,
        trust_env=False,
        follow_redirects=False,
        timeout=httpx2.Timeout(FETCH_SECONDS, connect=CONNECT_SECONDS),
    )

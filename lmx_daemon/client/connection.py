"""The connection of the client library: HTTP over the Unix socket of the daemon or over TCP, with structs as bodies.

It raises the LmxError that the daemon answers with, or DaemonUnreachableError. It does not know the routes.
"""

import os
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import quote

import msgspec

from lmx_daemon.client.remote import CA_VARIABLE, KEY_VARIABLE, VARIABLE, Remote, trusted
from lmx_daemon.contract.admin.protocol import HUB_HEADER, PROTOCOL, PROTOCOL_HEADER
from lmx_daemon.contract.errors import (
    ConfigError,
    DaemonSilentError,
    DaemonUnreachableError,
    ErrorBody,
    LmxError,
    ProtocolMismatchError,
    RequestError,
    error_from,
)

if TYPE_CHECKING:  # its import takes a quarter of the TUI's start, and no connection is needed for the first paint
    import httpx2

T = TypeVar("T")
ANSWER_SECONDS = 30.0
"""Timeout of plain requests; streams have no total limit."""
CONNECT_SECONDS = 5.0
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Empty context for a Unix socket; the default one takes 60 ms to read certificates."""


class AdminConnection:
    """A connection pool, used in `async with`. `transport` replaces the socket in tests."""

    def __init__(self, place: Path | Remote, *, transport: "httpx2.AsyncBaseTransport | None" = None) -> None:
        """Prepare a connection to a Unix socket, or to a daemon over TCP. Its first use opens it.

        Raise ConfigError for a faulty API key or file of certificates.
        """
        self._place = place
        self._transport = transport
        self._headers = {
            PROTOCOL_HEADER: str(PROTOCOL),
            HUB_HEADER: quote(os.environ.get("HF_ENDPOINT", ""), errors="replace"),
        }
        if isinstance(place, Remote) and place.key:
            self._headers["authorization"] = f"Bearer {_header_text(place.key)}"
        self._certificates = trusted(place.ca) if isinstance(place, Remote) and place.ca else None
        self._opened: httpx2.AsyncClient | None = None

    @property
    def _http(self) -> "httpx2.AsyncClient":
        """The pool of connections, made at its first use."""
        if self._opened is None:
            import httpx2

            place = self._place
            self._opened = httpx2.AsyncClient(
                transport=self._transport or _transport(place, self._certificates),
                base_url=place.url if isinstance(place, Remote) else "http://lmx",
                headers=self._headers,
                timeout=httpx2.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
                trust_env=False,
            )
        return self._opened

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened.aclose()

    async def _get(self, path: str, answer: type[T]) -> T:
        return msgspec.json.decode(await self._send("GET", path), type=answer)

    async def _post(self, path: str, answer: type[T], body: Any = None, *, seconds: float = ANSWER_SECONDS) -> T:
        return msgspec.json.decode(await self._send("POST", path, body, seconds=seconds), type=answer)

    async def _send(self, method: str, path: str, body: Any = None, *, seconds: float = ANSWER_SECONDS) -> bytes:
        content = None if body is None else _encode(body)
        with _Unreachable(self._place):
            response = await self._http.request(
                method, path, content=content, timeout=seconds, headers=_content_type(content)
            )
        _raise_for(response.status_code, response.headers, response.content)
        return response.content

    async def _lines(
        self, method: str, path: str, body: Any = None, *, read: float | None = None
    ) -> AsyncIterator[bytes]:
        import httpx2

        content = None if body is None else _encode(body)
        timeout = httpx2.Timeout(ANSWER_SECONDS, read=read, connect=CONNECT_SECONDS)
        with _Unreachable(self._place):
            async with self._http.stream(
                method, path, content=content, timeout=timeout, headers=_content_type(content)
            ) as response:
                if response.status_code != 200:
                    _raise_for(response.status_code, response.headers, await response.aread())
                buffer = b""
                async for chunk in response.aiter_raw():
                    *lines, buffer = (buffer + chunk).split(b"\n")
                    for line in lines:
                        if line:
                            yield line


def _transport(place: Path | Remote, certificates: ssl.SSLContext | None) -> "httpx2.AsyncHTTPTransport":
    import httpx2

    if isinstance(place, Path):
        return httpx2.AsyncHTTPTransport(uds=str(place), verify=NO_TLS)
    if place.url.startswith("http:"):
        return httpx2.AsyncHTTPTransport(verify=NO_TLS)
    return httpx2.AsyncHTTPTransport(verify=certificates or True)


def _header_text(key: str) -> str:
    if not key.isascii() or not key.isprintable():
        raise ConfigError(f"{KEY_VARIABLE} has characters that no API key has", hint="lmx key create NAME makes a key")
    return key


class _Unreachable:
    """Context manager that translates errors of the transport into DaemonUnreachableError.

    A remote daemon is always a DaemonSilentError: nothing replaces it by one of this machine.
    """

    def __init__(self, place: Path | Remote) -> None:
        self._place = place

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None:
            return
        import httpx2

        if not isinstance(error, httpx2.TransportError):
            return
        if isinstance(self._place, Remote):
            raise _unreachable(self._place, error) from error
        if isinstance(error, httpx2.ReadTimeout | httpx2.WriteTimeout):
            raise DaemonSilentError(
                f"the lmx daemon at {self._place} does not answer in time",
                hint=f"see its log: {self._place.parent / 'logs' / 'daemon.log'}",
            ) from error
        raise DaemonUnreachableError(
            f"no lmx daemon answers at {self._place}", hint="start one with: lmx serve --detach"
        ) from error


def _unreachable(remote: Remote, error: "httpx2.TransportError") -> DaemonSilentError:
    """Return the error of a daemon of another machine."""
    import httpx2

    reason = str(error) or type(error).__name__
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        return DaemonSilentError(
            f"the certificate of {remote.url} is not trusted: {reason}",
            hint=f"name the certificate of its authority: lmx --ca FILE, or {CA_VARIABLE}",
        )
    if isinstance(error, httpx2.ReadTimeout | httpx2.WriteTimeout):
        return DaemonSilentError(f"{remote.url} does not answer in time", hint="see `lmx logs` on that machine")
    return DaemonSilentError(
        f"{remote.url} cannot be reached: {reason}",
        hint=f"check the address in --host or {VARIABLE}, and http or https in front of it",
    )


def _encode(body: Any) -> bytes:
    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError:
        raise RequestError("the request contains bytes that are not UTF-8", hint="set the terminal to UTF-8") from None


def _content_type(content: bytes | None) -> dict[str, str]:
    return {} if content is None else {"content-type": "application/json"}


def _raise_for(status: int, headers: Any, content: bytes) -> None:
    theirs = headers.get(PROTOCOL_HEADER)
    if theirs is not None and theirs != str(PROTOCOL):
        raise ProtocolMismatchError(
            f"the daemon speaks protocol {theirs}, this program {PROTOCOL}",
            hint="stop the old daemon with its own lmx (`lmx stop`), then start it again",
        )
    if status < 400:
        return
    try:
        body = msgspec.json.decode(content, type=ErrorBody)
    except msgspec.MsgspecError:
        raise LmxError(f"the daemon answered {status}: {content[:200]!r}") from None
    raise error_from(body)

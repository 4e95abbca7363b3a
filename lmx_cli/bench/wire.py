"""A timed request to an OpenAI-compatible server.

The module uses asyncio protocols and httptools directly, because the client shares the machine with the server and must
cost little. Each request has a connection of its own, which every server supports. The module handles HTTP/1 and
server-sent events. It does not compute figures.
"""

import asyncio
import ssl
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httptools
import msgspec

from lmx_daemon.contract.errors import LmxError, UsageError

CONNECT_SECONDS = 10.0
ERROR_CHARACTERS = 300
PIECES = ("content", "reasoning_content", "reasoning", "text")
"""Names of the fields that carry text in a streamed choice, in the dialects of different servers."""


@dataclass(slots=True)
class TimedResponse:
    """Response to one request, with the times at which its parts arrived (`time.perf_counter`)."""

    sent: float = 0.0
    pieces: list[float] = field(default_factory=list)
    """Arrival time of each piece of the generated text."""
    text: list[str] = field(default_factory=list)
    ended: float = 0.0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int | None = None
    """Generated tokens according to the server's usage, or None if the server reports none."""
    status: int = 0
    server: str = ""
    body: bytes = b""
    error: str | None = None
    cancelled: bool = False
    """Whether the client closed the connection before the end on purpose."""

    @property
    def tokens(self) -> int:
        return len(self.pieces) if self.completion_tokens is None else self.completion_tokens


class Address:
    """Base URL of a server, such as "http://127.0.0.1:1234", with or without "/v1"."""

    def __init__(self, url: str) -> None:
        text = url if "://" in url else f"http://{url}"
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as error:
            raise UsageError(f"{url!r} is not a URL: {error}", hint=_EXAMPLE) from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"{url!r} is not an http or https URL", hint=_EXAMPLE)
        self.host = parts.hostname
        self.port = port or (443 if parts.scheme == "https" else 80)
        self.tls = ssl.create_default_context() if parts.scheme == "https" else None
        path = parts.path.rstrip("/")
        self.base = path if path.endswith("/v1") else f"{path}/v1"
        self.authority = parts.netloc.rpartition("@")[2]
        self.url = f"{parts.scheme}://{self.authority}{self.base}"


_EXAMPLE = "write it as http://127.0.0.1:1234/v1"


class Exchange(asyncio.Protocol):
    """A request and its response.

    `send` starts the exchange and `finished` waits for its end. `cancel` closes the connection early, as a client that
    disconnects does.
    """

    def __init__(self, address: Address, method: str, path: str, body: Any = None, key: str | None = None) -> None:
        self.response = TimedResponse()
        self._address = address
        content = b"" if body is None else msgspec.json.encode(body)
        lines = [f"{method} {address.base}{path} HTTP/1.1", f"Host: {address.authority}", "Connection: close"]
        lines += ["User-Agent: lmx-bench", "Accept: */*"]
        if key:
            lines.append(f"Authorization: Bearer {key}")
        if content:
            lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
        self._request = "\r\n".join(lines).encode() + b"\r\n\r\n" + content
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._ended = asyncio.get_running_loop().create_future()
        self._streams = False
        self._buffer = b""

    async def send(self) -> None:
        """Connect and send the request. A connection error ends the exchange and is stored in `response.error`."""
        self.response.sent = time.perf_counter()
        loop, address = asyncio.get_running_loop(), self._address
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await loop.create_connection(lambda: self, address.host, address.port, ssl=address.tls)
        except TimeoutError:
            self._end(f"no connection within {CONNECT_SECONDS:.0f} s")
        except ConnectionRefusedError:
            self._end("connection refused")
        except OSError as error:
            self._end(f"cannot connect: {error.strerror or error}")

    async def finished(self, seconds: float) -> TimedResponse:
        """Return the response when the exchange has ended. The exchange fails after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await asyncio.shield(self._ended)
        except TimeoutError:
            self._end(f"the response did not end within {seconds:.0f} s")
        finally:
            if self._transport is not None:
                self._transport.abort()
        return self.response

    def cancel(self) -> None:
        if not self._ended.done():
            self.response.cancelled = True
            self._end(None)

    @property
    def has_ended(self) -> bool:
        return self._ended.done()

    # ---- callbacks of asyncio ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self._ended.done():
            transport.abort()
            return
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self._ended.done():
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._end(f"the server does not speak HTTP/1: {error}")

    def connection_lost(self, error: Exception | None) -> None:
        if self._ended.done():
            return
        if self._streams or not self.response.status:  # a complete stream ends with [DONE]
            self._end("the connection closed before the end of the response")
        else:
            self.on_message_complete()

    # ---- callbacks of httptools ----

    def on_header(self, name: bytes, value: bytes) -> None:
        match name.lower():
            case b"content-type":
                self._streams = value.startswith(b"text/event-stream")
            case b"server":
                self.response.server = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.response.status = self._parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        if not self._streams or self.response.status != 200:
            self.response.body += data
            return
        now = time.perf_counter()
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                self._handle_event(line[5:].strip(), now)

    def on_message_complete(self) -> None:
        if self._ended.done():
            return
        if self.response.status != 200:
            self._end(f"HTTP {self.response.status}: {error_message(self.response.body)}")
        elif self._streams and not self.response.pieces and self.response.completion_tokens is None:
            self._end("the stream ended without any text")
        else:
            self._end(None)

    # ---- events ----

    def _handle_event(self, data: bytes, now: float) -> None:
        if data == b"[DONE]":
            self._end(None)
            return
        try:
            chunk = msgspec.json.decode(data)
            if chunk.get("error"):
                self._end(error_message(data))
                return
            self._handle_usage(chunk.get("usage"))
            for choice in chunk.get("choices") or ():
                self._handle_choice(choice, now)
        except (msgspec.MsgspecError, AttributeError, TypeError) as error:
            self._end(f"an event of the stream does not follow the OpenAI format: {error}")

    def _handle_choice(self, choice: dict[str, Any], now: float) -> None:
        delta = choice.get("delta") or choice
        text = next((delta[name] for name in PIECES if delta.get(name)), None)
        if text is not None or delta.get("tool_calls"):
            self.response.pieces.append(now)
            if isinstance(text, str):
                self.response.text.append(text)

    def _handle_usage(self, usage: dict[str, Any] | None) -> None:
        if not usage:
            return
        response = self.response
        response.prompt_tokens = usage.get("prompt_tokens") or usage.get("input_tokens") or 0
        response.completion_tokens = usage.get("completion_tokens", usage.get("output_tokens"))
        response.cached_tokens = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0

    def _end(self, error: str | None) -> None:
        if self._ended.done():
            return
        self.response.ended = time.perf_counter()
        self.response.error = error
        self._ended.set_result(None)


def error_message(body: bytes) -> str:
    """Return the message of an error body in the form that OpenAI, FastAPI or another server uses."""
    try:
        found = msgspec.json.decode(body)
        for name in ("error", "detail", "message"):
            value = found.get(name)
            if isinstance(value, dict):
                value = value.get("message")
            if value:
                return str(value)[:ERROR_CHARACTERS]
    except (msgspec.MsgspecError, AttributeError):
        pass
    return body[:ERROR_CHARACTERS].decode(errors="replace") or "(no body)"


async def fetch(address: Address, method: str, path: str, body: Any, key: str | None, seconds: float) -> TimedResponse:
    """Send one request and return its complete response. Raises LmxError if no server responds."""
    exchange = Exchange(address, method, path, body, key)
    await exchange.send()
    response = await exchange.finished(seconds)
    if response.error and not response.status:
        raise LmxError(
            f"no server responds at {address.url}: {response.error}", hint="check that it is running on that port"
        )
    return response

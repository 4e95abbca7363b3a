"""One request to an OpenAI-compatible server, timed: raw asyncio and httptools, since the client shares the machine.

A connection for each request, as the simplest clients do and every server takes. It knows HTTP/1 and server-sent
events, and nothing of what is measured with it.
"""

import asyncio
import ssl
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httptools
import msgspec

from lmx_daemon.contract.errors import LmxError, RequestError

CONNECT_SECONDS = 10.0
ERROR_CHARACTERS = 300
PIECES = ("content", "reasoning_content", "reasoning", "text")
"""Where dialects put an answer's text in a streamed choice."""


@dataclass(slots=True)
class TimedResponse:
    """What came back, and when; times are monotonic."""

    sent: float = 0.0
    pieces: list[float] = field(default_factory=list)
    """When each piece of the answer's text arrived."""
    text: list[str] = field(default_factory=list)
    ended: float = 0.0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int | None = None
    """As the server's usage says; None where it does not."""
    status: int = 0
    server: str = ""
    body: bytes = b""
    error: str | None = None
    cut: bool = False
    """Left early on purpose."""

    @property
    def tokens(self) -> int:
        return len(self.pieces) if self.completion_tokens is None else self.completion_tokens


class Address:
    """Where a server's routes begin: "http://127.0.0.1:1234", with or without "/v1"."""

    def __init__(self, url: str) -> None:
        text = url if "://" in url else f"http://{url}"
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as error:
            raise RequestError(f"{url!r} is no address: {error}", hint=_EXAMPLE) from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise RequestError(f"{url!r} is no http address", hint=_EXAMPLE)
        self.host = parts.hostname
        self.port = port or (443 if parts.scheme == "https" else 80)
        self.tls = ssl.create_default_context() if parts.scheme == "https" else None
        path = parts.path.rstrip("/")
        self.base = path if path.endswith("/v1") else f"{path}/v1"
        self.authority = parts.netloc.rpartition("@")[2]
        self.url = f"{parts.scheme}://{self.authority}{self.base}"

    @property
    def is_local(self) -> bool:
        return self.host in ("127.0.0.1", "localhost", "::1")


_EXAMPLE = "give it as http://127.0.0.1:1234/v1"


class Exchange(asyncio.Protocol):
    """One request and its answer. `send` it, await `finished`; `cut` leaves early, as a client that goes away does."""

    def __init__(self, address: Address, method: str, path: str, body: Any = None, key: str | None = None) -> None:
        self.answer = TimedResponse()
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
        self._over = asyncio.get_running_loop().create_future()
        self._streams = False
        self._buffer = b""

    async def send(self) -> None:
        """Connects and sends; a fault ends the exchange with `answer.error`."""
        self.answer.sent = time.perf_counter()
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
        """The answer, whole, failed or cut; after `seconds` it has failed."""
        try:
            async with asyncio.timeout(seconds):
                await asyncio.shield(self._over)
        except TimeoutError:
            self._end(f"no end within {seconds:.0f} s")
        finally:
            if self._transport is not None:
                self._transport.abort()
        return self.answer

    def cut(self) -> None:
        if not self._over.done():
            self.answer.cut = True
            self._end(None)

    @property
    def is_over(self) -> bool:
        return self._over.done()

    # ---- asyncio's calls ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self._over.done():
            transport.abort()
            return
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self._over.done():
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._end(f"what answers there is no HTTP/1 server: {error}")

    def connection_lost(self, error: Exception | None) -> None:
        if self._over.done():
            return
        if self._streams or not self.answer.status:  # a stream says [DONE], or the message has an end
            self._end("the connection closed before the answer's end")
        else:
            self.on_message_complete()

    # ---- httptools' calls ----

    def on_header(self, name: bytes, value: bytes) -> None:
        match name.lower():
            case b"content-type":
                self._streams = value.startswith(b"text/event-stream")
            case b"server":
                self.answer.server = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.answer.status = self._parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        if not self._streams or self.answer.status != 200:
            self.answer.body += data
            return
        now = time.perf_counter()
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                self._take(line[5:].strip(), now)

    def on_message_complete(self) -> None:
        if self._over.done():
            return
        if self.answer.status != 200:
            self._end(f"HTTP {self.answer.status}: {error_message(self.answer.body)}")
        elif self._streams and not self.answer.pieces and self.answer.completion_tokens is None:
            self._end("the stream ended without an answer")
        else:
            self._end(None)

    # ---- events ----

    def _take(self, data: bytes, now: float) -> None:
        if data == b"[DONE]":
            self._end(None)
            return
        try:
            chunk = msgspec.json.decode(data)
            if chunk.get("error"):
                self._end(error_message(data))
                return
            self._take_usage(chunk.get("usage"))
            for choice in chunk.get("choices") or ():
                self._take_choice(choice, now)
        except (msgspec.MsgspecError, AttributeError, TypeError) as error:
            self._end(f"an event of the stream is not OpenAI's: {error}")

    def _take_choice(self, choice: dict[str, Any], now: float) -> None:
        delta = choice.get("delta") or choice
        text = next((delta[name] for name in PIECES if delta.get(name)), None)
        if text is not None or delta.get("tool_calls"):
            self.answer.pieces.append(now)
            if isinstance(text, str):
                self.answer.text.append(text)

    def _take_usage(self, usage: dict[str, Any] | None) -> None:
        if not usage:
            return
        answer = self.answer
        answer.prompt_tokens = usage.get("prompt_tokens") or usage.get("input_tokens") or 0
        answer.completion_tokens = usage.get("completion_tokens", usage.get("output_tokens"))
        answer.cached_tokens = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0

    def _end(self, error: str | None) -> None:
        if self._over.done():
            return
        self.answer.ended = time.perf_counter()
        self.answer.error = error
        self._over.set_result(None)


def error_message(body: bytes) -> str:
    """The message of an error's body, whatever its dialect."""
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
    """One request whose whole answer is wanted. Raises LmxError where no server answers at all."""
    exchange = Exchange(address, method, path, body, key)
    await exchange.send()
    answer = await exchange.finished(seconds)
    if answer.error and not answer.status:
        raise LmxError(
            f"no server answers at {address.url}: {answer.error}", hint="is it running, and is that its port?"
        )
    return answer

"""A client with little CPU time of its own. It sends a body and reads the bytes of the answer to their end."""

import asyncio
import itertools
import re
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from lmx_cli.bench.wire import Address, Exchange, TimedResponse

SECONDS = 300.0
USAGE = {"stream_options": {"include_usage": True}}
Body = Callable[[str, str, int], dict[str, Any]]


def admin(model: str, text: str, tokens: int) -> dict[str, Any]:
    message = {"role": "user", "content": [{"type": "text", "text": text}]}
    prompt = {"type": "chat", "messages": [message]}
    return {"type": "generate", "model": model, "prompt": prompt, "max_tokens": tokens, "sampling": {"temperature": 0}}


def chat(model: str, text: str, tokens: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {"model": model, "messages": messages, "max_tokens": tokens, "temperature": 0, "stream": True}


def responses(model: str, text: str, tokens: int) -> dict[str, Any]:
    limits = {"max_output_tokens": tokens, "temperature": 0}
    return {"model": model, "input": text, "stream": True, "store": False} | limits


def ollama(model: str, text: str, tokens: int) -> dict[str, Any]:
    options = {"num_predict": tokens, "temperature": 0}
    return {"model": model, "messages": [{"role": "user", "content": text}], "options": options}


def constrained(model: str, text: str, tokens: int) -> dict[str, Any]:
    listed = {"type": "array", "minItems": 60, "items": {"type": "string", "maxLength": 12}}
    schema = {"type": "object", "properties": {"list": listed}, "required": ["list"], "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "list", "schema": schema}}
    return chat(model, text, tokens) | {"response_format": form}


FORMS: dict[str, tuple[str, Body]] = {
    "admin": ("/admin/generate", admin),
    "chat completions": ("/v1/chat/completions", chat),
    "messages": ("/v1/messages", chat),
    "responses": ("/v1/responses", responses),
    "Ollama's chat": ("/api/chat", ollama),
    "constrained": ("/v1/chat/completions", constrained),
}
"""Path and body of a streamed answer in each form."""


class LeanClient:
    """The client of one daemon and one model."""

    def __init__(self, address: str, admin_socket: Path, model: str) -> None:
        parts = urlsplit(address)
        assert parts.hostname is not None and parts.port is not None
        self._host, self._port, self._socket, self._model = parts.hostname, parts.port, admin_socket, model
        self._address = Address(address)
        self._ids = itertools.count()

    def body(self, form: str, text: str, tokens: int) -> dict[str, Any]:
        """Return the body of a streamed answer of `tokens`."""
        made = FORMS[form][1](self._model, text, tokens)
        return made | {"id": f"bench{next(self._ids)}"} if form == "admin" else made

    async def whole(self, form: str, body: dict[str, Any]) -> bytes:
        """Return the bytes of an answer. Raises RuntimeError if the response is an error."""
        found = await self._bytes(FORMS[form][0], body)
        if b" 200 " not in found[:40] or b'"error":{' in found:
            raise RuntimeError(f"{form}: {found[:600]!r}")
        return found

    async def count_seconds(self, text: str, tools: list[dict[str, Any]]) -> float:
        """Return the seconds that a count of tokens takes."""
        body: dict[str, Any] = {"model": self._model, "messages": [{"role": "user", "content": text}]}
        begun = time.perf_counter()
        found = await self._bytes("/v1/messages/count_tokens", body | ({"tools": tools} if tools else {}))
        seconds = time.perf_counter() - begun
        if b"input_tokens" not in found:
            raise RuntimeError(repr(found[:600]))
        return seconds

    async def list_seconds(self, path: str) -> float:
        """Return the seconds that a list of models takes."""
        begun = time.perf_counter()
        found = b"".join([part async for part in self._parts(path)])
        seconds = time.perf_counter() - begun
        if b" 200 " not in found[:40] or self._model.encode() not in found:
            raise RuntimeError(f"{path}: {found[:600]!r}")
        return seconds

    async def first_token(self, text: str, tools: list[dict[str, Any]]) -> tuple[float, int]:
        """Return the seconds to the first token of a chat completion, and the number of its cached prompt tokens."""
        fields = {"tools": tools} if tools else {}
        response = await self._timed(chat(self._model, text, 2) | fields | USAGE)
        return response.pieces[0] - response.sent, response.cached_tokens

    async def first_token_of_ids(self, ids: list[int]) -> tuple[float, int]:
        """Return the figures of `first_token` for a prompt of token ids, sent to the admin socket."""
        body = self.body("admin", "", 2) | {"prompt": {"type": "tokens", "ids": ids}}
        found, begun, first = b"", time.perf_counter(), 0.0
        async for part in self._parts("/admin/generate", body):
            found += part
            if not first and b'"type":"delta"' in found:
                first = time.perf_counter() - begun
        cached = re.search(rb'"cached_tokens":([0-9]+)', found)
        if not first or cached is None:
            raise RuntimeError(repr(found[:600]))
        return first, int(cached[1])

    async def timed(self, messages: list[dict[str, str]], tokens: int) -> TimedResponse:
        """Return a chat completion with its usage and its times."""
        return await self._timed(chat(self._model, "", tokens) | {"messages": messages} | USAGE)

    async def _timed(self, body: dict[str, Any]) -> TimedResponse:
        exchange = Exchange(self._address, "POST", "/chat/completions", body)
        await exchange.send()
        response = await exchange.finished(SECONDS)
        if response.error is not None:
            raise RuntimeError(response.error)
        return response

    async def _bytes(self, path: str, body: dict[str, Any]) -> bytes:
        return b"".join([part async for part in self._parts(path, body)])

    async def _parts(self, path: str, body: dict[str, Any] | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes of the response as they arrive. Without a body, the method is GET."""
        content = msgspec.json.encode(body) if body is not None else b""
        if path.startswith("/admin"):
            reader, writer = await asyncio.open_unix_connection(str(self._socket))
        else:
            reader, writer = await asyncio.open_connection(self._host, self._port)
        method = "GET" if body is None else "POST"
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\nConnection: close\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        writer.write(head.encode() + content)
        try:
            async with asyncio.timeout(SECONDS):
                while part := await reader.read(1 << 20):
                    yield part
        finally:
            writer.close()

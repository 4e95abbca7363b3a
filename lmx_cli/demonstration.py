"""The output of `lmx demo`: a question to lmx/guide over HTTP, its streamed answer, TTFT and speed."""

import shutil
import sys
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import msgspec

from lmx_cli.output import Output
from lmx_cli.own_port import own_port
from lmx_daemon.client.client import Client
from lmx_daemon.client.spawn import find_daemon, start_daemon
from lmx_daemon.contract.admin.protocol import REQUEST_ID_HEADER
from lmx_daemon.contract.admin.snapshot import Status
from lmx_daemon.contract.errors import LmxError
from lmx_daemon.contract.models import GUIDE
from lmx_daemon.settings.paths import Home

ANSWER_SECONDS = 120.0


async def demonstrate(output: Output, question: str) -> None:
    """Ask the built-in model and print its answer. Without a terminal, also print how to connect."""
    home = Home.from_environment()
    status = await find_daemon(home)
    started = status is None
    if status is None:
        output.note("starting the daemon ...")
        status = await start_daemon(home)
    output.note(f"lmx {status.version} serves at {status.address}/v1")
    output.note(f"POST {status.address}/v1/chat/completions  model {GUIDE}")
    output.text("", f"> {question}", "")
    await _ask(output, home, status, question)
    if not output.interactive:
        _print_how_to_connect(output, status, started)


async def _ask(output: Output, home: Home, status: Status, question: str) -> None:
    async with Client.of(home) as client:
        port = await own_port(client, home, status)
    request = f"demo-{uuid.uuid4().hex[:12]}"
    begun = time.monotonic()
    first: float | None = None
    usage: dict[str, Any] = {}
    async for chunk in _chunks(port.address, question, request, port.key):
        usage = chunk.get("usage") or usage
        for choice in chunk.get("choices", ()):
            text = choice["delta"].get("content")
            if text:
                first = first or time.monotonic()
                output.content(text)
    if first is None:
        raise LmxError(f"{GUIDE} gave no answer", hint=f"see {status.log_file}")
    output.text("", "")
    rate = await _rate(home, request)
    figures = [
        f"{usage.get('completion_tokens', 0)} tokens",
        f"TTFT {first - begun:.2f} s (loading the model included)",
        f"{rate:.0f} tok/s" if rate else "-",
    ]
    output.note(" · ".join(figures))


async def _rate(home: Home, request: str) -> float:
    """Return the decode rate measured by the worker; a short answer can arrive here in one piece."""
    async with Client.of(home) as client:
        snapshot = await client.snapshot()
    return next((row.rate for row in snapshot.requests if row.id == request), 0.0)


async def _chunks(address: str, question: str, request: str, key: str | None) -> AsyncIterator[dict[str, Any]]:
    body = {
        "model": GUIDE,
        "messages": [{"role": "user", "content": question}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    headers = {REQUEST_ID_HEADER: request} | ({"authorization": f"Bearer {key}"} if key else {})
    async with (
        httpx2.AsyncClient(timeout=ANSWER_SECONDS, trust_env=False, headers=headers) as client,
        client.stream("POST", f"{address}/v1/chat/completions", json=body) as response,
    ):
        if response.status_code != 200:
            raise _error(await response.aread(), response.status_code)
        async for line in response.aiter_lines():
            if not line.startswith("data: ") or line == "data: [DONE]":
                continue
            chunk: dict[str, Any] = msgspec.json.decode(line.removeprefix("data: "))
            if "error" in chunk:
                raise _error(msgspec.json.encode(chunk), 500)
            yield chunk


def _error(content: bytes, status: int) -> LmxError:
    try:
        error = msgspec.json.decode(content)["error"]
        return LmxError(error["message"], hint=error.get("hint"))
    except (msgspec.MsgspecError, KeyError, TypeError):
        return LmxError(f"the daemon answered {status}: {content[:200]!r}")


def _print_how_to_connect(output: Output, status: Status, started: bool) -> None:
    output.text("The daemon keeps running in the background." if started else "The daemon was running before.")
    key = "lmx" if not status.api_key else "KEY (make one: lmx key create NAME)"
    header = "" if not status.api_key else " -H 'x-api-key: KEY'"
    output.text(f"  any OpenAI client   base_url={status.address}/v1   api_key={key}")
    output.text(f"  curl                curl {status.address}/v1/models{header}")
    command = _command()
    output.text(f"  terminal UI         {command} tui")
    output.text(f"  chat in the shell   {command} chat")
    output.text(f"  stop it             {command} stop")


def _command() -> str:
    """Return the command that runs this lmx: its path in a checkout, which is not on the PATH."""
    called = sys.argv[0]
    return called if Path(called).name == "lmx" and shutil.which("lmx") is None else "lmx"

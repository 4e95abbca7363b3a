"""A server under test: its address, its model and versions, and its ratio of words to tokens."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from lmx_cli.bench.prompts import FEW, MANY, Scale, message, scale_from, words
from lmx_cli.bench.wire import Address, Exchange, TimedResponse, error_message, fetch
from lmx_daemon.contract.errors import LmxError, ModelNotFoundError
from lmx_daemon.storage.benchmark import Target

PREPARE_SECONDS = 600.0
"""Timeout of the first requests, which can include loading the model."""
SETTLE_SECONDS = 120.0
LISTED = 8
"""Number of model names that an error lists."""
BASE_URL = "give the base URL of an OpenAI-compatible server, such as http://127.0.0.1:1234/v1"

MemoryProbe = Callable[[], Awaitable[int | None]]


class ServerUnderTest:
    """An OpenAI-compatible server and the model that is measured on it."""

    def __init__(
        self,
        name: str,
        url: str,
        model: str | None = None,
        *,
        key: str | None = None,
        memory: MemoryProbe | None = None,
        versions: dict[str, str] | None = None,
        backend: str = "",
        software: str = "",
        takes_seeds: bool = True,
    ) -> None:
        self.name = name
        self.address = Address(url)
        self.model = model or ""
        self.memory = memory
        self.scale = Scale()
        self.takes_seeds = takes_seeds
        """Whether requests may carry a seed. Some servers do not batch requests that have one."""
        self.context: int | None = None
        """Maximum tokens of prompt and answer together, or None if the server does not report it."""
        self._key = key
        self._versions = versions or {}
        self._backend = backend
        self._software = software

    async def prepare(self) -> None:
        """Find the model, have the server load it, and derive the scale of words to tokens.

        Raises LmxError with a hint if the server or the model is unavailable.
        """
        listed = await self._listed()
        if not self.model:
            if len(listed) != 1:
                some = ", ".join(list(listed)[:LISTED])
                raise LmxError(
                    f"the model to measure on {self.address.url} is not named",
                    hint="name it with --model (or --vs-model)" + (f"; available: {some}" if listed else ""),
                )
            self.model = next(iter(listed))
        entry = listed.get(self.model, {})
        for name in ("max_context_length", "max_model_len", "context_length"):
            if isinstance(entry.get(name), int):
                self.context = entry[name]
                break
        counts = [await self._count(length, list(listed)) for length in (FEW, MANY)]
        self.scale = scale_from(*counts)

    async def settle(self) -> None:
        """Wait until the server answers a short request, so that no work of one round delays the next."""
        messages = [message("user", words(8, f"settle {time.monotonic_ns()}"))]
        exchange = self.request(messages, 1, temperature=0.0, seed=None)
        await exchange.send()
        await exchange.finished(SETTLE_SECONDS)

    def target(self) -> Target:
        return Target(
            name=self.name,
            url=self.address.url,
            model=self.model,
            software=self._software,
            versions=self._versions,
            backend=self._backend,
        )

    def request(self, messages: list[dict[str, str]], tokens: int, *, temperature: float, seed: int | None) -> Exchange:
        """Return a streamed chat completion that is not sent yet."""
        body: dict[str, Any] = {
            "model": self.model,
            "messages": messages,
            "max_tokens": tokens,
            "temperature": temperature,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if seed is not None:
            body["seed"] = seed
        return Exchange(self.address, "POST", "/chat/completions", body, self._key)

    async def _listed(self) -> dict[str, dict[str, Any]]:
        """Return the models that the server lists, by id. An empty list does not mean that it has no model."""
        response = await fetch(self.address, "GET", "/models", None, self._key, PREPARE_SECONDS)
        self._software = self._software or response.server
        if response.status == 401:
            raise LmxError(f"{self.address.url} requires an API key", hint="pass it with --api-key (or --vs-api-key)")
        try:
            return {entry["id"]: entry for entry in msgspec.json.decode(response.body)["data"]}
        except (msgspec.MsgspecError, KeyError, TypeError):
            return {}

    async def _count(self, length: int, listed: list[str]) -> int:
        body = {
            "model": self.model,
            "messages": [message("user", words(length, f"count {length}"))],
            "max_tokens": 1,
        }
        response = await fetch(self.address, "POST", "/chat/completions", body, self._key, PREPARE_SECONDS)
        if response.status == 200:
            return _prompt_tokens(self.address, response)
        text = error_message(response.body)
        if response.status == 404 and listed and self.model not in listed:
            more = "" if len(listed) <= LISTED else ", ..."
            raise ModelNotFoundError(
                f"{self.address.url} has no model {self.model!r}",
                hint=f"available: {', '.join(listed[:LISTED])}{more}",
            )
        if response.status in (404, 405):
            raise LmxError(f"POST {self.address.url}/chat/completions: HTTP {response.status}: {text}", hint=BASE_URL)
        raise LmxError(
            f"{self.address.url} answered HTTP {response.status}: {text}", hint="check --url, --model and --api-key"
        )


def _prompt_tokens(address: Address, response: TimedResponse) -> int:
    """Return the prompt tokens of the usage, or 0 if the server reports none.

    Raises LmxError if the body is not an OpenAI chat completion.
    """
    try:
        usage = msgspec.json.decode(response.body, type=_Completion).usage
    except msgspec.MsgspecError as error:
        raise LmxError(
            f"the response of {address.url} is not a chat completion: {response.body[:80]!r}",
            hint=BASE_URL,
        ) from error
    return (usage.prompt_tokens or 0) if usage is not None else 0


class _Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int | None = None


class _Completion(msgspec.Struct, frozen=True):
    choices: list[Any]
    usage: _Usage | None = None


class MemoryWatch:
    """Context manager that polls the resident memory of a server and keeps the maximum.

    The maximum is None for a server whose processes are not known.
    """

    SECONDS = 0.25

    def __init__(self, server: ServerUnderTest) -> None:
        self._probe = server.memory
        self._task: asyncio.Task[None] | None = None
        self.highest: int | None = None

    async def __aenter__(self) -> "MemoryWatch":
        if self._probe is not None:
            self._task = asyncio.create_task(self._watch(self._probe))
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self, probe: MemoryProbe) -> None:
        while True:
            found = await probe()
            if found is not None:
                self.highest = max(self.highest or 0, found)
            await asyncio.sleep(self.SECONDS)

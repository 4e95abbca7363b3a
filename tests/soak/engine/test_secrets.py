"""Concurrent clients with secrets in their prompts: answers equal those of single requests, and no log has a secret."""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.end_to_end.running import Daemon
from tests.soak.conftest import MODELS

pytestmark = pytest.mark.slow
CLIENTS = 48
SECONDS = 60.0
NAMESPACES = ("", "alpha", "beta", "gamma")
SAMPLING: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0},
    "seed": {"temperature": 1.0},
    "top_p": {"temperature": 0.9, "top_p": 0.8},
    "top_k": {"temperature": 1.2, "top_k": 20},
    "min_p": {"temperature": 1.1, "min_p": 0.1},
    "penalties": {"temperature": 0.8, "presence_penalty": 1.5, "frequency_penalty": 0.7},
    "repetition": {"temperature": 0.7, "repetition_penalty": 1.3},
    "bias": {"temperature": 1.0, "logit_bias": {"70": 12, "80": 12, "90": -100}},
    "n": {"temperature": 1.0, "n": 2},
    "logprobs": {"temperature": 0.6, "logprobs": 3},
    "stop": {"temperature": 1.0, "stop": ["e", "the", "0"], "max_tokens": 200},
}
Choice = tuple[str, str, tuple[tuple[str, float], ...]]
"""Text, finish reason, and the tokens with log-probabilities if the request has logprobs."""


class SecretRequest:
    """Request with its own secret in the prompt."""

    def __init__(self, number: int, rng: random.Random) -> None:
        self.secret = f"sk-{rng.getrandbits(96):024x}"
        self.model = tuple(MODELS)[number % len(MODELS)]
        self.sampling = tuple(SAMPLING)[number % len(SAMPLING)]
        self.chat = number % 2 == 0
        # All prompts have the same beginning, so that they share blocks in the prefix cache.
        text = f"You keep the keys and answer in one sentence. {'Be brief. ' * 8}The key is {self.secret}."
        body = {"model": self.model, "seed": number, "max_tokens": 24} | SAMPLING[self.sampling]
        if self.chat:
            body["messages"] = [{"role": "user", "content": text}]
            if "logprobs" in body:
                body |= {"logprobs": True, "top_logprobs": body["logprobs"]}
        else:
            body["prompt"] = text
        self.body = body | {"cache_namespace": NAMESPACES[number % len(NAMESPACES)], "user": f"user-{number}"}
        self.route = "/v1/chat/completions" if self.chat else "/v1/completions"


def tokens_of(choice: dict[str, Any], chat: bool) -> list[tuple[str, float]]:
    logprobs = choice.get("logprobs")
    if not logprobs:
        return []
    if chat:
        return [(entry["token"], entry["logprob"]) for entry in logprobs["content"]]
    return list(zip(logprobs["tokens"], logprobs["token_logprobs"], strict=True))


def whole(answer: dict[str, Any], chat: bool) -> list[Choice]:
    choices = sorted(answer["choices"], key=lambda choice: int(choice["index"]))
    return [
        (
            choice["message"]["content"] if chat else choice["text"],
            choice["finish_reason"],
            tuple(tokens_of(choice, chat)),
        )
        for choice in choices
    ]


def assembled(lines: list[str], chat: bool) -> list[Choice]:
    """Return the choices of a stream. Raise AssertionError if its last event is not [DONE]."""
    assert lines[-1] == "data: [DONE]", lines[-1]
    texts: dict[int, str] = {}
    reasons: dict[int, str] = {}
    tokens: dict[int, list[tuple[str, float]]] = {}
    for line in lines[:-1]:
        for choice in json.loads(line.removeprefix("data: "))["choices"]:
            index = choice["index"]
            text = choice["delta"].get("content") if chat else choice["text"]
            texts[index] = texts.get(index, "") + (text or "")
            reasons[index] = choice["finish_reason"] or reasons.get(index, "")
            tokens.setdefault(index, []).extend(tokens_of(choice, chat))
    return [(texts[index], reasons[index], tuple(tokens[index])) for index in sorted(texts)]


def same(one: list[Choice], other: list[Choice]) -> bool:
    """Return whether two answers are the same. Log-probabilities differ in their last digits in a batch."""
    return [choice[:2] for choice in one] == [choice[:2] for choice in other] and all(
        [token for token, _ in first] == [token for token, _ in second]
        and all(abs(a - b) < 1e-3 for (_, a), (_, b) in zip(first, second, strict=True))
        for (_, _, first), (_, _, second) in zip(one, other, strict=True)
    )


def start(cache: Path, engine: str = "") -> Daemon:
    return Daemon(environment={"HF_HUB_CACHE": str(cache)}, config=f"[engine]\n{engine}").start()


@pytest.fixture(scope="module")
def cases() -> list[SecretRequest]:
    rng = random.Random(48)
    return [SecretRequest(number, rng) for number in range(72)]


@pytest.fixture(scope="module")
def alone(cache: Path, cases: list[SecretRequest]) -> list[list[Choice]]:
    """Return the answer to each case from a daemon that serves one request at a time and stores no prefixes."""
    daemon = start(cache, "prefix_cache_bytes = 0\nprefix_disk_bytes = 0\n")
    answers = []
    with httpx2.Client(timeout=60) as client:
        for case in cases:
            answer = client.post(daemon.address + case.route, json=case.body)
            assert answer.status_code == 200, answer.text
            answers.append(whole(answer.json(), case.chat))
    assert daemon.stop() == 0
    assert len({answer[0][0] for answer in answers}) > 60, "the answers depend on the prompts"
    return answers


@pytest.fixture
def shared_daemon(cache: Path) -> Iterator[Daemon]:
    daemon = start(cache)
    yield daemon
    daemon.stop()


class ConcurrentClients:
    """Concurrent clients, and their answers."""

    def __init__(self, daemon: Daemon, cases: list[SecretRequest], alone: list[list[Choice]]) -> None:
        self.daemon, self.cases, self.alone = daemon, cases, alone
        self.compared: Counter[tuple[str, str]] = Counter()
        """Number of complete answers, by model and kind of sampling."""
        self.left = 0
        self.wrong: list[str] = []
        self.shown = ""
        """Output of the admin socket during the run."""

    async def run(self) -> None:
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=CLIENTS)
        async with httpx2.AsyncClient(timeout=60, limits=limits) as client:
            end = time.monotonic() + SECONDS
            watching = asyncio.create_task(self._watch())
            await asyncio.gather(*(self._live(client, random.Random(number), end) for number in range(CLIENTS)))
            watching.cancel()

    async def _watch(self) -> None:
        while True:
            for path in ("/admin/requests", "/admin/status", "/admin/instances"):
                self.shown += json.dumps(await asyncio.to_thread(self.daemon.admin, "GET", path))
            await asyncio.sleep(1.0)

    async def _live(self, client: httpx2.AsyncClient, rng: random.Random, end: float) -> None:
        while time.monotonic() < end:
            number = rng.randrange(len(self.cases))
            patience = rng.random() * 1.5 if rng.random() < 0.3 else 60.0
            try:
                async with asyncio.timeout(patience):
                    found = await self._ask(client, self.cases[number], rng)
            except TimeoutError:
                assert patience < 60, "an answer did not come"
                self.left += 1
                continue
            case = self.cases[number]
            self.compared[case.model, case.sampling] += 1
            if not same(found, self.alone[number]):
                self.wrong.append(f"case {number}: {found} and not {self.alone[number]}")

    async def _ask(self, client: httpx2.AsyncClient, case: SecretRequest, rng: random.Random) -> list[Choice]:
        headers = {"x-request-id": f"shared-{rng.randrange(4)}"} if rng.random() < 0.25 else {}
        url = self.daemon.address + case.route
        if rng.random() < 0.5:
            answer = await client.post(url, json=case.body, headers=headers)
            assert answer.status_code == 200, answer.text
            return whole(answer.json(), case.chat)
        async with client.stream("POST", url, json=case.body | {"stream": True}, headers=headers) as streamed:
            assert streamed.status_code == 200
            lines = [line async for line in streamed.aiter_lines() if line.startswith("data: ")]
        return assembled(lines, case.chat)


def test_answers_of_48_concurrent_clients_equal_those_of_single_requests(
    shared_daemon: Daemon, cases: list[SecretRequest], alone: list[list[Choice]]
) -> None:
    clients = ConcurrentClients(shared_daemon, cases, alone)
    asyncio.run(clients.run())
    assert not clients.wrong, f"{len(clients.wrong)} wrong answers: {clients.wrong[0]}"
    assert clients.compared.total() > 300 and clients.left > 50
    assert len(clients.compared) == len({(case.model, case.sampling) for case in cases})
    assert clients.shown
    for case in cases:
        assert case.secret not in clients.shown
    assert shared_daemon.admin("GET", "/admin/status").get("incidents", []) == []
    used, strange = (cached_tokens(shared_daemon, cases[1], namespace) for namespace in (NAMESPACES[1], "never used"))
    assert used > 64 and strange == 0, "prefixes are shared within a namespace alone"
    assert shared_daemon.process is not None
    shared_daemon.process.terminate()
    assert shared_daemon.process.wait(30) == 0
    files = [file for file in shared_daemon.home.rglob("*") if file.is_file()]
    assert {"daemon.log", "workers.log"} <= {file.name for file in files}
    for file in files:
        content = file.read_bytes()
        assert not [case.secret for case in cases if case.secret.encode() in content], file


def cached_tokens(daemon: Daemon, case: SecretRequest, namespace: str) -> int:
    body = case.body | {"cache_namespace": namespace}
    answer = httpx2.post(daemon.address + case.route, json=body, timeout=60)
    return int(answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"])

"""Log-probabilities of prompts over HTTP, against the model itself in this process."""

import json
from pathlib import Path
from typing import Any

import httpx2
import mlx.core as mx
import pytest
from mlx_lm.utils import load_model, load_tokenizer

from tests.end_to_end.conftest import TALKER
from tests.end_to_end.running import Daemon

PROMPTS = [[7, 300, 45, 12, 99, 200], [301, 8, 8]]
CONTEXT = (2, 1)
"""Length of the part of each prompt that is not judged."""


class Plain:
    """The model as mlx-lm runs it."""

    def __init__(self, cache: Path) -> None:
        (config,) = cache.rglob("config.json")
        self.model, _ = load_model(config.parent)
        self.tokenizer = load_tokenizer(config.parent)

    def logprobs(self, tokens: list[int]) -> mx.array:
        logits = self.model(mx.array([tokens]))[0].astype(mx.float32)
        return logits - mx.logsumexp(logits, axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def plain(cache: Path) -> Plain:
    return Plain(cache)


def complete(daemon: Daemon, **fields: Any) -> dict[str, Any]:
    body = {"model": TALKER, "temperature": 0} | fields
    answer = httpx2.post(f"{daemon.address}/v1/completions", json=body, timeout=120)
    assert answer.status_code == 200, answer.text
    value: dict[str, Any] = answer.json()
    return value


def test_harness_request_sums_the_continuations_log_probabilities(daemon: Daemon, plain: Plain) -> None:
    """The request and the reading of the answer are those of lm-evaluation-harness (local-completions)."""
    for _ in range(2):  # the second time the prompts are stored
        answer = complete(daemon, prompt=PROMPTS, max_tokens=1, logprobs=1, echo=True, seed=1234)
        for choice, prompt, begin in zip(answer["choices"], PROMPTS, CONTEXT, strict=True):
            expected = plain.logprobs(prompt)
            own = [expected[place - 1, prompt[place]].item() for place in range(begin, len(prompt))]
            greedy = all(mx.argmax(expected[place - 1]).item() == prompt[place] for place in range(begin, len(prompt)))
            found = choice["logprobs"]["token_logprobs"][begin:-1]
            top = choice["logprobs"]["top_logprobs"][begin:-1]
            assert choice["logprobs"]["token_logprobs"][0] is None
            assert found == pytest.approx(own, abs=1e-3)
            assert all(one == max(best.values()) for one, best in zip(found, top, strict=True)) == greedy
        assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 0


def test_greedy_continuation_is_found_greedy(daemon: Daemon, plain: Plain) -> None:
    prompt = [7, 300, 45]
    continuation: list[int] = []
    for _ in range(4):
        continuation.append(int(mx.argmax(plain.logprobs([*prompt, *continuation])[-1])))
    answer = complete(daemon, prompt=[*prompt, *continuation], max_tokens=1, logprobs=1, echo=True)
    logprobs = answer["choices"][0]["logprobs"]
    pairs = zip(logprobs["token_logprobs"][3:-1], logprobs["top_logprobs"][3:-1], strict=True)
    assert [one == max(best.values()) for one, best in pairs] == [True] * 4


def test_stream_has_what_the_whole_answer_has(daemon: Daemon, plain: Plain) -> None:
    text = "What is measured is known."
    ids = plain.tokenizer.encode(text, add_special_tokens=False)
    whole = complete(daemon, prompt=ids, max_tokens=3, logprobs=2, echo=True)["choices"][0]
    assert whole["text"].startswith(text)
    body = {"model": TALKER, "temperature": 0, "prompt": ids, "max_tokens": 3, "logprobs": 2, "echo": True}
    lists: dict[str, list[Any]] = {}
    streamed = ""
    with httpx2.stream("POST", f"{daemon.address}/v1/completions", json=body | {"stream": True}, timeout=120) as stream:
        for line in stream.iter_lines():
            if line.startswith("data: {"):
                (choice,) = json.loads(line.removeprefix("data: "))["choices"]
                streamed += choice["text"]
                for name, values in (choice["logprobs"] or {}).items():
                    lists.setdefault(name, []).extend(values)
    assert streamed == whole["text"]
    assert lists["tokens"] == whole["logprobs"]["tokens"] and lists["text_offset"] == whole["logprobs"]["text_offset"]
    assert lists["token_logprobs"][1:] == pytest.approx(whole["logprobs"]["token_logprobs"][1:], abs=1e-3)
    for token, offset in zip(lists["tokens"], lists["text_offset"], strict=True):
        assert token.startswith("bytes:") or whole["text"][offset:].startswith(token)


def test_answer_without_tokens_has_the_prompt_alone(daemon: Daemon) -> None:
    answer = complete(daemon, prompt=PROMPTS[0], max_tokens=0, logprobs=0, echo=True)
    assert len(answer["choices"][0]["logprobs"]["tokens"]) == len(PROMPTS[0])
    assert answer["usage"]["completion_tokens"] == 0 and answer["choices"][0]["finish_reason"] == "length"

"""Completions that begin with their prompt, with the log-probabilities of its tokens."""

import json
from typing import Any

import pytest

from lmx_daemon.contract.generation.events import (
    Delta,
    Ending,
    Event,
    Finished,
    PromptTokens,
    Started,
    TokenLogprob,
    Usage,
)
from lmx_daemon.contract.generation.requests import Generate, Text, Tokens
from lmx_daemon.residency.requests.active_request import ActiveRequest
from tests.http.asgi import Answer, FakePool, ask, public_app_over
from tests.openai_types import check_stream, validator

WORDS = {1: b"one", 2: b" two", 3: "\u00e9".encode()[:1], 4: "\u00e9".encode()[1:]}
BODY = {"model": "m", "echo": True, "logprobs": 1}


def entry(identity: int, logprob: float | None, *top: TokenLogprob) -> TokenLogprob:
    spelled = WORDS[identity]
    token = spelled.decode(errors="backslashreplace")
    return TokenLogprob(token=token, id=identity, logprob=logprob, bytes=tuple(spelled), top=top)


def reply(active: ActiveRequest) -> list[Event]:
    """Return an answer whose prompt has three tokens, in two events, and whose choices have one each."""
    request = active.request
    assert isinstance(request, Generate)
    reported = request.prompt_logprobs is not None
    prompt = (
        PromptTokens(id=active.id, tokens=(entry(1, None),)),
        PromptTokens(id=active.id, tokens=(entry(2, -2.0, entry(1, -0.5)), entry(3, -1.0, entry(3, -1.0)))),
    )
    texts = [PromptTokens(id=active.id, text="told")] if request.echo else []
    deltas = [
        Delta(id=active.id, choice=each, content="x", tokens=1, logprobs=(entry(4, -0.25),))
        for each in range(request.choices if request.max_tokens else 0)
    ]
    return [
        Started(id=active.id, prompt_tokens=3, cached_tokens=0, seed=1),
        *(prompt if reported else texts),
        *deltas,
        Finished(id=active.id, endings=(Ending(reason="length"),) * request.choices, usage=Usage(prompt_tokens=3)),
    ]


async def answer_to(fields: dict[str, Any]) -> tuple[Answer, FakePool]:
    pool = FakePool(reply)
    return await ask(public_app_over(pool), "POST", "/v1/completions", BODY | fields), pool


async def choices_of(**fields: Any) -> list[dict[str, Any]]:
    """Return the choices of a whole answer, or of a stream with the parts of each joined."""
    answer, _ = await answer_to(fields)
    assert answer.status == 200, answer.body
    if not fields.get("stream"):
        value = answer.json()
        validator("completion").validate({**value, "choices": [plain(choice) for choice in value["choices"]]})
        return list(value["choices"])
    found: dict[int, dict[str, Any]] = {}
    events = answer.body.decode().removesuffix("data: [DONE]\n\n").split("\n\n")
    for event in filter(None, events):
        value = json.loads(event.removeprefix("data: "))
        validator("completion_chunk").validate(value)
        for choice in value["choices"]:
            known = found.setdefault(choice["index"], choice | {"text": "", "logprobs": None})
            known["text"] += choice["text"]
            known["finish_reason"] = choice["finish_reason"]
            if choice["logprobs"]:
                lists = known["logprobs"] or {name: [] for name in choice["logprobs"]}
                known["logprobs"] = {name: lists[name] + choice["logprobs"][name] for name in lists}
    return [found[index] for index in sorted(found)]


def plain(choice: dict[str, Any]) -> dict[str, Any]:
    """Return a choice without vLLM's field."""
    return {name: value for name, value in choice.items() if name != "prompt_logprobs"}


@pytest.mark.parametrize("stream", [False, True])
async def test_lists_hold_the_prompts_tokens_and_then_the_answers(stream: bool) -> None:
    for choice in await choices_of(prompt=[1, 2, 3], max_tokens=1, n=2, stream=stream):
        assert choice["text"] == "one two\ufffdx"
        logprobs = choice["logprobs"]
        assert logprobs["token_logprobs"] == [None, -2.0, -1.0, -0.25]
        assert logprobs["tokens"] == ["one", " two", "bytes:\\xc3", "bytes:\\xa9"]
        assert logprobs["top_logprobs"] == [None, {"one": -0.5}, {"bytes:\\xc3": -1.0}, {}]
        assert logprobs["text_offset"][:3] == [0, 3, 7]


@pytest.mark.parametrize("stream", [False, True])
async def test_answer_without_tokens_has_the_prompt_alone(stream: bool) -> None:
    first, second = await choices_of(prompt=[[1, 2, 3], [1]], max_tokens=0, stream=stream)
    assert first["text"] == second["text"] == "one two\ufffd" and first["finish_reason"] == "length"
    assert first["logprobs"]["token_logprobs"] == [None, -2.0, -1.0]


async def test_requests_ask_for_the_prompts_log_probabilities() -> None:
    _, pool = await answer_to({"prompt": [[1, 2], [3]], "max_tokens": 1, "logprobs": 2})
    for request, ids in zip(pool.submitted, [(1, 2), (3,)], strict=True):
        assert isinstance(request, Generate) and request.prompt == Tokens(ids=ids)
        assert (request.prompt_logprobs, request.top_logprobs, request.echo) == (2, 2, True)
    _, pool = await answer_to({"prompt": "text", "logprobs": None})
    (request,) = pool.submitted
    assert isinstance(request, Generate) and request.prompt == Text(text="text")
    assert request.prompt_logprobs is None and not request.echo


async def test_offsets_of_a_prompt_do_not_count_what_the_tokenizer_puts_before_it() -> None:
    (choice,) = await choices_of(prompt="two\ufffd", max_tokens=1)
    assert choice["text"] == "two\ufffdx"
    assert choice["logprobs"]["text_offset"] == [0, 0, 3, 4]


@pytest.mark.parametrize("stream", [False, True])
async def test_token_ids_are_echoed_as_text_without_log_probabilities(stream: bool) -> None:
    (choice,) = await choices_of(prompt=[1, 2, 3], max_tokens=0, logprobs=None, stream=stream)
    assert choice["text"] == "told" and choice["logprobs"] is None


async def test_prompt_logprobs_have_vllms_form() -> None:
    (choice,) = await choices_of(prompt=[1, 2, 3], max_tokens=1, echo=False, logprobs=None, prompt_logprobs=1)
    assert choice["text"] == "x"
    first, second, third = choice["prompt_logprobs"]
    assert first is None and set(third) == {"3"}
    assert second == {
        "2": {"logprob": -2.0, "rank": None, "decoded_token": " two"},
        "1": {"logprob": -0.5, "rank": 1, "decoded_token": "one"},
    }


async def test_echo_of_a_text_needs_no_event_of_the_engine() -> None:
    pool = FakePool(lambda active: [Finished(id=active.id, endings=(Ending(reason="stop"),))])
    body = {"model": "m", "prompt": "said", "echo": True, "stream": True}
    answer = await ask(public_app_over(pool), "POST", "/v1/completions", body)
    texts = [chunk["choices"][0]["text"] for chunk in check_stream("completion_chunk", answer.body)]
    assert texts == ["said", ""]

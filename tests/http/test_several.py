"""Several prompts of one completions request have one answer, and one failure or disconnect ends all of them."""

import asyncio
from typing import Any

import pytest

from lmx_daemon.contract.errors import BusyError, WorkerError
from lmx_daemon.contract.generation.events import Delta, Ending, Event, Failed, Finished, Started, Usage
from lmx_daemon.contract.generation.requests import Generate, Infill, Text, Tokens
from lmx_daemon.http.several import SeveralRequests
from lmx_daemon.residency.requests.active_request import ActiveRequest
from tests.http.asgi import FakePool, ask, public_app_over
from tests.openai_types import check, check_stream

BODY = {"model": "m", "prompt": ["one", "two", "three"], "n": 2, "max_tokens": 4}


def reply(active: ActiveRequest) -> list[Event]:
    """Return an answer in which each choice repeats the prompt and its own number."""
    request = active.request
    assert isinstance(request, Generate) and isinstance(request.prompt, Text)
    word = request.prompt.text
    return [
        Started(id=active.id, prompt_tokens=5, cached_tokens=1, seed=1),
        *(Delta(id=active.id, choice=each, content=f"{word} {each}", tokens=2) for each in range(request.choices)),
        Finished(
            id=active.id,
            endings=(Ending(reason="stop"),) * request.choices,
            usage=Usage(prompt_tokens=5, cached_tokens=1, completion_tokens=4),
        ),
    ]


TEXTS = ["one 0", "one 1", "two 0", "two 1", "three 0", "three 1"]


async def test_choices_of_a_whole_answer_are_numbered_prompt_by_prompt() -> None:
    pool = FakePool(reply)
    answer = check("completion", (await ask(public_app_over(pool), "POST", "/v1/completions", BODY)).body)
    assert [choice["text"] for choice in answer["choices"]] == TEXTS
    assert [choice["index"] for choice in answer["choices"]] == list(range(6))
    assert answer["usage"]["prompt_tokens"] == 15 and answer["usage"]["total_tokens"] == 27
    assert pool.released == 3 and len({each.id for each in pool.submitted}) == 3


async def test_choices_of_a_stream_are_numbered_prompt_by_prompt() -> None:
    pool = FakePool(reply)
    answer = await ask(public_app_over(pool), "POST", "/v1/completions", BODY | {"stream": True})
    texts, reasons = [""] * 6, [""] * 6
    for chunk in check_stream("completion_chunk", answer.body):
        (choice,) = chunk["choices"]
        texts[choice["index"]] += choice["text"]
        reasons[choice["index"]] += choice["finish_reason"] or ""
    assert texts == TEXTS and reasons == ["stop"] * 6 and pool.released == 3


@pytest.mark.parametrize("stream", [False, True])
async def test_failure_of_one_prompt_ends_the_answer_and_releases_all(stream: bool) -> None:
    def script(active: ActiveRequest) -> list[Event]:
        events = reply(active)
        failed = Failed(id=active.id, error=WorkerError("it crashed").body())
        return [failed] if "two" in str(active.request) else events[:2]

    pool = FakePool(script)
    answer = await ask(public_app_over(pool), "POST", "/v1/completions", BODY | {"stream": stream})
    assert b"it crashed" in answer.body and pool.released == 3


async def test_no_request_remains_if_one_of_them_cannot_be_queued() -> None:
    pool = FakePool(lambda _: [])
    submit = pool.submit

    def full(request: Any) -> ActiveRequest:
        if len(pool.submitted) == 2:
            raise BusyError("the queue is full")
        return submit(request)

    pool.submit = full  # type: ignore[method-assign]
    answer = await ask(public_app_over(pool), "POST", "/v1/completions", BODY)
    assert answer.status == 429 and pool.released == 2


async def test_events_that_arrive_later_are_read_and_release_ends_the_reading() -> None:
    pool = FakePool(lambda _: [])
    several = SeveralRequests(pool, [Generate(id=name, model="m", prompt=Text(text=name)) for name in "ab"])
    assert await several.take(0.01) == []
    several._active[1].put(Delta(id="b", content="x"))
    assert await several.take(5.0) == [Delta(id="b", choice=1, content="x")]
    several.release(several)
    await asyncio.sleep(0)
    assert pool.released == 2 and not several.read


async def test_lists_of_prompts_are_read_in_every_form() -> None:
    finished = Finished(id="r", endings=(Ending(reason="stop"),))
    for prompt, expected in (
        ("a", [Text(text="a")]),
        (["a"], [Text(text="a")]),
        ([5, 6], [Tokens(ids=(5, 6))]),
        ([[5, 6]], [Tokens(ids=(5, 6))]),
        ([[5], [6, 7], "a"], [Tokens(ids=(5,)), Tokens(ids=(6, 7)), Text(text="a")]),
    ):
        pool = FakePool(lambda _: [finished])
        answer = await ask(public_app_over(pool), "POST", "/v1/completions", {"model": "m", "prompt": prompt})
        assert answer.status == 200, answer.body
        assert [each.prompt for each in pool.submitted] == expected  # type: ignore[union-attr]


@pytest.mark.parametrize("stream", [False, True])
async def test_echo_begins_each_choice_with_its_prompt(stream: bool) -> None:
    body = BODY | {"echo": True, "stream": stream}
    answer = await ask(public_app_over(FakePool(reply)), "POST", "/v1/completions", body)
    texts = [""] * 6
    for part in check_stream("completion_chunk", answer.body) if stream else [check("completion", answer.body)]:
        for choice in part["choices"]:
            texts[choice["index"]] += choice["text"]
    assert texts == [f"{text.split()[0]}{text}" for text in TEXTS]


async def test_suffix_makes_a_request_for_the_text_between() -> None:
    pool = FakePool(lambda _: [Finished(id="r", endings=(Ending(reason="stop"),))])
    body = {"model": "m", "prompt": "def f():", "suffix": "return x"}
    assert (await ask(public_app_over(pool), "POST", "/v1/completions", body)).status == 200
    assert [each.prompt for each in pool.submitted] == [Infill(prefix="def f():", suffix="return x")]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"prompt": "a", "suffix": "b", "echo": True, "logprobs": 0},
            "echo: log-probabilities of a prompt with a suffix are not supported",
        ),
        (
            {"prompt": "a", "stream": True, "prompt_logprobs": 0},
            "prompt_logprobs is not supported in a stream; use echo",
        ),
        ({"prompt": [5], "suffix": "x"}, "suffix: the prompt has to be text, not token ids"),
        ({"prompt": [5, "a"]}, "prompt: token ids and prompts cannot be entries of the same list"),
        ({"prompt": ["a"] * 129}, "prompt: 129 prompts with n = 1; at most 128 choices are allowed in all"),
        ({"prompt": ["a"] * 9, "n": 15}, "prompt: 9 prompts with n = 15; at most 128 choices are allowed in all"),
        ({"prompt": "a", "best_of": 3}, "best_of: only the value of n is supported; every choice is returned"),
    ],
)
async def test_wrong_list_of_prompts_is_refused(fields: dict[str, Any], message: str) -> None:
    answer = await ask(public_app_over(FakePool(reply)), "POST", "/v1/completions", {"model": "m"} | fields)
    assert answer.status == 400 and answer.json()["error"]["message"] == message

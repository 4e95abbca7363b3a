"""Decisions over HTTP: questions to prompts and labels, log-probabilities to answers, and errors by field."""

import json
import math
from typing import Any

import pytest

from lmx_daemon.contract.errors import WorkerError
from lmx_daemon.contract.generation.events import Decided, Event, Failed, Started, Usage
from lmx_daemon.contract.generation.requests import Chat, Decide
from lmx_daemon.http.dialects.decisions.questions import choice_confidence, letters, score_confidence
from lmx_daemon.residency.requests.active_request import ActiveRequest
from tests.http.asgi import FakePool, ask, public_app_over

OPENAI, SYSTEM_ONE = "/v1/decisions", "/v1/systemone"
CHOICES = [{"value": "refund", "description": "money back"}, {"value": True}]
BODY: dict[str, Any] = {
    "model": "m",
    "input": "I was charged twice.",
    "questions": [
        {"type": "predicate", "name": "angry", "instructions": "Is the customer angry?"},
        {"type": "choice", "instructions": "Which team?", "choices": CHOICES},
        {
            "type": "score",
            "name": "urgent",
            "instructions": "How urgent?",
            "levels": [{"label": "low"}, {"label": "high"}],
        },
    ],
}
STATE: dict[str, Any] = {
    "model": "m",
    "state": {"text": "I was charged twice."},
    "questions": {
        "angry": {"type": "noul", "instructions": "Is the customer angry?", "criteria": {"true": "rude words"}},
        "team": {"type": "choice", "criteria": {"billing": None, "sales": "before a purchase"}},
        "urgent": {"type": "score", "instructions": "How urgent?", "criteria": ["low", "high"]},
    },
}


def reply(active: ActiveRequest) -> list[Event]:
    """Return a decision in which the first of two options has three times the probability of the second."""
    assert isinstance(active.request, Decide)
    logprobs = tuple(math.log(share) for share in (0.3, 0.1, *(0.01,) * 300)[: len(active.request.options)])
    return [
        Started(id=active.id, prompt_tokens=20, cached_tokens=8, seed=0),
        Decided(id=active.id, logprobs=logprobs, usage=Usage(prompt_tokens=20, cached_tokens=8)),
    ]


async def test_answers_of_openais_form() -> None:
    pool = FakePool(reply)
    answer = await ask(public_app_over(pool), "POST", OPENAI, BODY)
    assert answer.status == 200 and pool.released == 3
    value = answer.json()
    assert value["model"] == "m" and value["usage"]["input_tokens"] == value["usage"]["total_tokens"] == 60
    assert value["usage"]["input_tokens_details"]["cached_tokens"] == 24 and value["usage"]["output_tokens"] == 0
    angry, team, urgent = value["answers"]
    assert angry == {"type": "predicate", "name": "angry", "probability": pytest.approx(0.75)}
    assert team["choice"] == "refund" and team["confidence"] == pytest.approx(0.5) and team["name"] is None
    assert [each["value"] for each in team["probabilities"]] == ["refund", True]
    assert urgent["score"] == pytest.approx(0.25)
    assert urgent["probabilities"][1] == {"value": 1, "label": "high", "probability": pytest.approx(0.25)}


async def test_answers_of_system_ones_form() -> None:
    value = (await ask(public_app_over(FakePool(reply)), "POST", SYSTEM_ONE, STATE)).json()
    assert value["usage"] == {"input_tokens": 60, "output_tokens": 0}
    assert value["answers"]["angry"] == {"type": "noul", "noul": pytest.approx(0.75)}
    assert value["answers"]["team"]["choice"] == "billing"
    assert value["answers"]["team"]["probabilities"]["sales"] == pytest.approx(0.25)
    assert value["answers"]["urgent"]["legend"] == {"0": "low", "1": "high"}
    assert value["answers"]["urgent"]["probabilities"]["1"] == pytest.approx(0.25)


async def test_prompts_begin_with_the_input_and_end_with_the_labels() -> None:
    pool = FakePool(reply)
    parts = [{"type": "input_text", "text": "I was charged"}, {"type": "input_text", "text": "twice."}]
    body = BODY | {"input": [{"role": "user", "content": parts}], "priority": 3, "deadline": 5.0}
    await ask(public_app_over(pool), "POST", OPENAI, body)
    for request, labels in zip(pool.submitted, (("yes", "no"), ("A", "B"), ("0", "1")), strict=True):
        assert isinstance(request, Decide) and isinstance(request.prompt, Chat)
        assert request.options == labels and request.deadline == 5.0 and request.route == OPENAI
        assert request.prompt.thinking is False
        assert request.prompt.messages[0].text.startswith("I was charged\n\ntwice.\n\nQuestion: ")
    assert "A: refund - money back\nB: True\n" in pool.submitted[1].prompt.messages[0].text  # type: ignore[union-attr]


async def test_questions_share_the_text_that_they_are_about() -> None:
    pool = FakePool(reply)
    await ask(public_app_over(pool), "POST", OPENAI, BODY)
    assert len(pool.submitted) == 3
    texts = {
        id(request.prompt.messages[0].content[0])
        for request in pool.submitted
        if isinstance(request, Decide) and isinstance(request.prompt, Chat)
    }
    assert len(texts) == 1


async def test_failure_of_one_question_ends_all() -> None:
    def script(active: ActiveRequest) -> list[Event]:
        failed = Failed(id=active.id, error=WorkerError("it crashed").body())
        return [failed] if active.id.endswith(".1") else []

    pool = FakePool(script)
    answer = await ask(public_app_over(pool), "POST", OPENAI, BODY)
    assert answer.status == 500 and answer.json()["error"]["message"] == "it crashed" and pool.released == 3


async def test_client_that_disconnects_cancels_all_questions() -> None:
    pool = FakePool(lambda active: reply(active) if active.id.endswith(".1") else [])
    messages = [{"type": "http.request", "body": json.dumps(BODY).encode(), "more_body": False}]
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return messages.pop() if messages else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": OPENAI,
        "raw_path": OPENAI.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 1234),
        "state": {},
    }
    await public_app_over(pool)(scope, receive, send)
    assert pool.released == 3 and sent[0]["status"] == 499


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        (OPENAI, {"input": " "}, "input"),
        (OPENAI, {"input": [{"role": "assistant", "content": "x"}]}, "input[0].role"),
        (
            OPENAI,
            {"input": [{"content": [{"type": "input_image", "image_url": "data:,"}]}]},
            "input[0].content[0].type",
        ),
        (OPENAI, {"questions": []}, "questions"),
        (OPENAI, {"questions": [{"type": "predicate"}]}, "questions[0].instructions"),
        (OPENAI, {"questions": [{"type": "choice", "instructions": "x", "choices": []}]}, "questions[0].choices"),
        (
            OPENAI,
            {"questions": [{"type": "choice", "instructions": "x", "choices": [{"value": "a"}, {"value": "a"}]}]},
            "questions[0].choices[1].value",
        ),
        (OPENAI, {"questions": [BODY["questions"][0], BODY["questions"][0]]}, "questions[0].name"),
        (SYSTEM_ONE, {"questions": {"q": {"type": "noul"}}}, "questions.q.instructions"),
        (SYSTEM_ONE, {"questions": {"q": {"type": "noul", "criteria": {"yes": "x"}}}}, "questions[...].criteria"),
        (SYSTEM_ONE, {"questions": {}}, "questions"),
    ],
)
async def test_wrong_value_is_refused_by_its_field(path: str, fields: dict[str, Any], param: str) -> None:
    body = (BODY if path == OPENAI else STATE) | fields
    answer = await ask(public_app_over(FakePool(reply)), "POST", path, body)
    assert answer.status == 400 and answer.json()["error"]["param"] == param, answer.body


def test_labels_are_letters_and_then_pairs_of_letters() -> None:
    assert letters(2) == ("A", "B") and letters(26)[-1] == "Z"
    assert letters(27)[:2] == ("AA", "AB") and len(set(letters(255))) == 255


def test_confidence_is_1_for_certainty_and_0_for_equal_probabilities() -> None:
    for measure in (choice_confidence, score_confidence):
        assert measure([1.0, 0.0, 0.0]) == 1.0 and measure([1.0]) == 1.0
    assert choice_confidence([1 / 3] * 3) == pytest.approx(0.0)
    assert score_confidence([0.5, 0.0, 0.5]) == 0.0 < score_confidence([0.1, 0.8, 0.1])

"""Decisions over HTTP with real workers: the probabilities of the model itself, and prefixes shared with chats."""

from pathlib import Path
from typing import Any

import httpx2
import mlx.core as mx
import pytest
from mlx_lm.utils import load_model, load_tokenizer
from openai import BadRequestError, OpenAI

from tests.end_to_end.conftest import TALKER
from tests.end_to_end.running import Daemon

ABOUT = "The parcel arrived late, and its content was broken. " * 20
GUIDE = "lmx/guide"


def post(daemon: Daemon, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = httpx2.post(daemon.address + path, json=body, timeout=120)
    assert answer.status_code == 200, answer.text
    value: dict[str, Any] = answer.json()
    return value


def test_probabilities_are_those_of_the_model(daemon: Daemon, cache: Path) -> None:
    (config,) = cache.rglob("config.json")
    model, _ = load_model(config.parent)
    tokenizer = load_tokenizer(config.parent)
    questions = [{"type": "choice", "instructions": "Which?", "choices": [{"value": "late"}, {"value": "broken"}]}]
    found = post(daemon, "/v1/decisions", {"model": TALKER, "input": ABOUT, "questions": questions})
    text = f"{ABOUT}\n\nQuestion: Which?\nA: late\nB: broken\nAnswer with the label of one option only: A to B."
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": text}], add_generation_prompt=True)
    logits = model(mx.array([prompt]))[0, -1].astype(mx.float32)
    own = mx.softmax(logits[mx.array([tokenizer.encode(label, add_special_tokens=False)[0] for label in "AB"])])
    assert [each["probability"] for each in found["answers"][0]["probabilities"]] == pytest.approx(
        own.tolist(), abs=1e-3
    )
    assert found["usage"]["input_tokens"] == len(prompt)


@pytest.mark.parametrize("model", [TALKER, GUIDE])
def test_second_decision_and_chat_share_the_prefix(daemon: Daemon, model: str) -> None:
    body = {"model": model, "input": f"For {model}: {ABOUT}"}
    angry = {"type": "predicate", "name": "angry", "instructions": "Is the customer angry?"}
    first = post(daemon, "/v1/decisions", body | {"questions": [angry]})
    late = {"type": "score", "instructions": "How late?", "levels": [{"label": "a day"}, {"label": "a week"}]}
    second = post(daemon, "/v1/decisions", body | {"questions": [late]})
    assert 0.0 <= first["answers"][0]["probability"] <= 1.0
    assert second["usage"]["input_tokens_details"]["cached_tokens"] > 100
    messages = [{"role": "user", "content": body["input"]}]
    chat = post(daemon, "/v1/chat/completions", {"model": model, "messages": messages, "max_tokens": 1})
    assert chat["usage"]["prompt_tokens_details"]["cached_tokens"] > 100


def test_openai_sdk_reads_the_answers(daemon: Daemon) -> None:
    questions: list[Any] = [
        {"type": "predicate", "name": "angry", "instructions": "Is the customer angry?"},
        {"type": "choice", "instructions": "Which?", "choices": [{"value": "late"}, {"value": True}]},
        {"type": "score", "instructions": "How late?", "levels": [{"label": "a day"}, {"label": "a week"}]},
    ]
    with OpenAI(base_url=f"{daemon.address}/v1", api_key="lmx", max_retries=0) as client:
        found = client.decisions.create(model=GUIDE, input=ABOUT, questions=questions)
        type(found).model_validate(found.model_dump(), strict=True)
        assert [answer.type for answer in found.answers] == ["predicate", "choice", "score"]
        with pytest.raises(BadRequestError) as raised:
            client.decisions.create(model=GUIDE, input="", questions=questions)
    assert raised.value.param == "input"


def test_many_questions_are_answered_in_order(daemon: Daemon) -> None:
    criteria = {f"option {number}": None for number in range(40)}
    questions: dict[str, Any] = {
        f"q{number}": {"type": "noul", "instructions": f"Is it {number}?"} for number in range(6)
    }
    questions["many"] = {"type": "choice", "criteria": criteria}
    found = post(daemon, "/v1/systemone", {"model": TALKER, "state": ABOUT, "questions": questions})
    assert list(found["answers"]) == list(questions)
    assert sum(found["answers"]["many"]["probabilities"].values()) == pytest.approx(1.0)
    rows = daemon.admin("GET", "/admin/snapshot")["requests"]
    assert any(row["route"] == "/v1/systemone" and row["state"] == "finished" for row in rows)

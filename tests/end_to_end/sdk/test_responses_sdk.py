"""The Responses routes of the real daemon, by the unmodified OpenAI SDK."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.end_to_end.running import Daemon

GUIDE = "lmx/guide"
QUESTION = "How do I change the port?"
WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the current weather for a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "City name"}},
        "required": ["city"],
    },
    "strict": False,
}


@pytest.fixture
def client(daemon: Daemon) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{daemon.address}/v1", api_key="lmx", max_retries=0) as client:
        yield client


def ask(client: OpenAI, given: Any, **fields: Any) -> Any:
    return client.responses.create(model=GUIDE, input=given, **{"temperature": 0, "max_output_tokens": 40} | fields)


def test_whole_and_streamed_answers_are_the_same(client: OpenAI) -> None:
    whole = ask(client, QUESTION)
    assert whole.output_text and whole.usage.total_tokens == whole.usage.input_tokens + whole.usage.output_tokens
    events = list(ask(client, QUESTION, stream=True))
    assert events[0].type == "response.created" and events[-1].type in ("response.completed", "response.incomplete")
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == whole.output_text
    assert events[-1].response.output_text == whole.output_text


def test_tool_call_and_its_result(client: OpenAI) -> None:
    items: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
    first = ask(client, items, tools=[WEATHER])
    (call,) = [item for item in first.output if item.type == "function_call"]
    assert call.name == "get_weather" and json.loads(call.arguments) == {"city": "Paris"}
    items += [item.model_dump(exclude_none=True) for item in first.output]
    items.append({"type": "function_call_output", "call_id": call.call_id, "output": '{"temperature": 21}'})
    second = ask(client, items, tools=[WEATHER])
    assert second.output_text and second.usage.input_tokens_details.cached_tokens > first.usage.input_tokens - 20


def test_a_stored_response_is_continued_listed_and_deleted(client: OpenAI) -> None:
    first = ask(client, QUESTION)
    second = client.responses.create(
        input="And how do I stop it?", previous_response_id=first.id, temperature=0, max_output_tokens=8
    )  # the model is that of the first response
    assert second.model == GUIDE and second.usage.input_tokens > first.usage.input_tokens + 20
    assert client.responses.retrieve(first.id).output_text == first.output_text
    (item,) = client.responses.input_items.list(first.id).data
    assert item.content[0].text == QUESTION
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)
    with pytest.raises(openai.NotFoundError) as error:
        ask(client, "x", previous_response_id=first.id)
    assert error.value.param == "previous_response_id"


def test_a_response_that_is_not_to_be_stored_is_not(client: OpenAI) -> None:
    answer = ask(client, QUESTION, store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(answer.id)


def test_empty_input_with_one_token_loads_the_model(client: OpenAI) -> None:
    assert ask(client, "", max_output_tokens=1).status in ("completed", "incomplete")


def test_tools_that_cannot_run_are_left_out_and_named_in_a_header(client: OpenAI) -> None:
    raw = client.responses.with_raw_response.create(
        model=GUIDE, input=QUESTION, tools=[{"type": "web_search"}, WEATHER], max_output_tokens=4
    )
    assert "web_search" in raw.headers["x-lmx-ignored"]


def test_input_tokens_are_counted_with_tools(client: OpenAI) -> None:
    def count(**fields: Any) -> int:
        return client.responses.input_tokens.count(model=GUIDE, input=QUESTION, **fields).input_tokens or 0

    assert count(tools=[WEATHER]) > count() > 5
    assert count() == ask(client, QUESTION, max_output_tokens=1).usage.input_tokens


def test_a_compacted_conversation_is_one_item_that_can_be_continued(client: OpenAI) -> None:
    compacted = client.responses.compact(model=GUIDE, input=QUESTION)
    items: list[Any] = [item.model_dump(exclude_none=True) for item in compacted.output]
    assert [item["type"] for item in items] == ["compaction"]
    assert ask(client, [*items, {"role": "user", "content": "Go on"}], max_output_tokens=4).output


@pytest.mark.parametrize(
    ("fields", "error", "param"),
    [
        ({"input": [{"role": "robot", "content": "x"}]}, openai.BadRequestError, "input[0].role"),
        ({"input": "x", "background": True}, openai.BadRequestError, "background"),
        ({"input": "x", "model": "no/model"}, openai.NotFoundError, "model"),
        ({"input": "word " * 9000}, openai.BadRequestError, "messages"),
    ],
)
def test_error_has_the_class_and_the_field(client: OpenAI, fields: dict[str, Any], error: Any, param: str) -> None:
    with pytest.raises(error) as raised:
        client.responses.create(**{"model": GUIDE, "max_output_tokens": 4} | fields)
    assert raised.value.param == param


def test_a_response_of_an_unknown_id_is_not_found(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        client.responses.cancel("resp_unknown")

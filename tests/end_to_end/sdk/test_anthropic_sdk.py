"""The unmodified Anthropic SDK against the real daemon and scripted models."""

import re
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic import Anthropic

from tests.agent_model import AGENT, TEMPLATE, build_agent_model, call
from tests.end_to_end.running import Daemon, wait_until
from tests.families import FAMILIES
from tests.models import cached_snapshot
from tests.pictures import encoded, png
from tests.scripted import Script, build_scripted

SHORT = "tests/short"
"""Model with a context of 128 tokens."""
ROME = "tests/rome"
"""Model that calls for the weather of Rome, with markers that are no control tokens."""
KIMI = "tests/kimi"
"""Model that writes the id of each call itself, and begins with the same one in each answer."""
OVERFLOW = re.compile(r"prompt is too long: (?P<tokens>\d+) tokens > (?P<most>\d+) maximum")
WEATHER: Any = {
    "name": "get_weather",
    "description": "Get the weather of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
SCRIPTS = {
    "": "Hello there.",
    "casethink": "<think>Two and two.</think>It is four.",
    "casestop": "One two END three.",
    "caseforever": Script([" word"] * 20, ends=False),
    "caseweather": "I look.\n" + call("get_weather", '{"city": "Paris"}'),
    "casesunny": "It is sunny.",
}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    root = tmp_path_factory.mktemp("scripted")
    build_agent_model(root, SCRIPTS)
    build_agent_model(root, SCRIPTS, SHORT, max_position_embeddings=128)
    build_scripted(cached_snapshot(root, ROME), call("get_weather", '{"city": "Rome"}'), template=TEMPLATE)
    next(family for family in FAMILIES if family.label == "kimi_k2").build(cached_snapshot(root, KIMI))
    running = Daemon(environment={"HF_HUB_CACHE": str(root)}, config="[engine]\nwarm_spare = false\n").start()
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def client(daemon: Daemon) -> Iterator[Anthropic]:
    with Anthropic(base_url=daemon.address, api_key="lmx", max_retries=0, timeout=120) as client:
        yield client


def asked(words: str, **fields: Any) -> dict[str, Any]:
    return {"model": AGENT, "max_tokens": 200, "messages": [{"role": "user", "content": words}], **fields}


class TestMessages:
    def test_whole_answer(self, client: Anthropic) -> None:
        message = client.messages.create(**asked("hi", system="Be kind."))
        (block,) = message.content
        assert block.type == "text" and block.text == "Hello there."
        assert (message.stop_reason, message.model, message.role) == ("end_turn", AGENT, "assistant")
        assert message.usage.input_tokens > 5 and message.usage.output_tokens > 2
        assert message._request_id and message.id == f"msg_{message._request_id}"

    def test_stream_adds_up_to_the_whole_answer(self, client: Anthropic) -> None:
        with client.messages.stream(**asked("hi there")) as stream:
            text = "".join(stream.text_stream)
            message = stream.get_final_message()
        assert text == "Hello there." and message.stop_reason == "end_turn"
        assert message.usage.output_tokens > 2 and message.usage.input_tokens > 5

    @pytest.mark.parametrize("stream", [False, True])
    def test_thinking_has_blocks_of_its_own(self, client: Anthropic, stream: bool) -> None:
        fields = asked("casethink", thinking={"type": "enabled", "budget_tokens": 1024}, max_tokens=2000)
        if stream:
            with client.messages.stream(**fields) as events:
                message = events.get_final_message()
        else:
            message = client.messages.create(**fields)  # type: ignore[assignment]
        thinking, text = message.content
        assert thinking.type == "thinking" and (thinking.thinking, thinking.signature) == ("Two and two.", "lmx")
        assert text.type == "text" and text.text == "It is four."
        assert message.usage.output_tokens_details and message.usage.output_tokens_details.thinking_tokens > 2

    def test_stop_sequence_is_named_and_not_shown(self, client: Anthropic) -> None:
        message = client.messages.create(**asked("casestop", stop_sequences=["END"]))
        assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "END")
        assert message.content[0].type == "text" and message.content[0].text.strip() == "One two"

    def test_last_message_of_the_assistant_is_continued(self, client: Anthropic) -> None:
        begun: Any = {"role": "assistant", "content": "Well, "}
        fields = asked("hi", thinking={"type": "adaptive"})
        message = client.messages.create(**fields | {"messages": [*fields["messages"], begun]})
        assert message.content[0].type == "text" and message.content[0].text == "Hello there."
        whole = client.messages.create(**fields).usage
        added = message.usage.input_tokens + (message.usage.cache_read_input_tokens or 0)
        assert 0 < added - whole.input_tokens - (whole.cache_read_input_tokens or 0) <= len("Well, ")

    def test_limit_of_tokens(self, client: Anthropic) -> None:
        message = client.messages.create(**asked("hi", max_tokens=2))
        assert message.stop_reason == "max_tokens" and message.usage.output_tokens == 2

    def test_limit_of_the_context(self, client: Anthropic) -> None:
        with client.messages.stream(**asked("caseforever", model=SHORT, max_tokens=32_000)) as stream:
            message = stream.get_final_message()
        assert message.stop_reason == "model_context_window_exceeded"
        assert message.usage.input_tokens + message.usage.output_tokens <= 128


class TestTools:
    @pytest.mark.parametrize("stream", [False, True])
    def test_round_trip(self, client: Anthropic, stream: bool) -> None:
        fields = asked("What about caseweather?", tools=[WEATHER])
        if stream:
            with client.messages.stream(**fields) as events:
                message = events.get_final_message()
        else:
            message = client.messages.create(**fields)  # type: ignore[assignment]
        text, use = message.content
        assert text.type == "text" and text.text == "I look."
        assert use.type == "tool_use" and (use.name, use.input) == ("get_weather", {"city": "Paris"})
        assert message.stop_reason == "tool_use"
        result: Any = {"type": "tool_result", "tool_use_id": use.id, "content": "casesunny, 20 degrees"}
        messages = [*fields["messages"], message.to_param(), {"role": "user", "content": [result]}]
        final = client.messages.create(**fields | {"messages": messages})
        assert final.content[0].type == "text" and final.content[0].text == "It is sunny."

    @pytest.mark.parametrize("strict", [True, False])
    def test_call_of_a_strict_tool_follows_its_schema(self, client: Anthropic, strict: bool) -> None:
        schema = {"type": "object", "properties": {"city": {"enum": ["Paris", "Oslo"]}}, "required": ["city"]}
        tool: Any = {"name": "get_weather", "input_schema": schema, "strict": strict}
        message = client.messages.create(**asked("hi", model=ROME, tools=[tool]))
        (block,) = message.content
        assert message.stop_reason == "tool_use" and block.type == "tool_use"
        assert (block.input["city"] in ("Paris", "Oslo")) == strict

    def test_ids_that_the_model_writes_are_unique_for_the_client(self, client: Anthropic) -> None:
        fields = asked("caseone", model=KIMI, tools=[WEATHER])
        (first,), (second,) = (client.messages.create(**fields).content for _ in range(2))
        assert first.type == second.type == "tool_use" and first.id != second.id
        assert re.fullmatch(r"[a-zA-Z0-9_-]+", first.id)

    def test_tool_types_that_cannot_run_are_dropped(self, client: Anthropic) -> None:
        search: Any = {"type": "web_search_20250305", "name": "web_search"}
        raw = client.messages.with_raw_response.create(**asked("hi", tools=[search]))
        assert raw.headers["x-lmx-ignored"] == "tools[0] (web_search_20250305)"
        assert raw.parse().stop_reason == "end_turn"


class TestCount:
    def test_it_is_the_prompt_of_the_answer(self, client: Anthropic) -> None:
        fields = asked("Please count casestop", tools=[WEATHER], system="Be kind.")
        usage = client.messages.create(**fields).usage
        prompt = {name: value for name, value in fields.items() if name != "max_tokens"}
        counted = client.messages.count_tokens(**prompt).input_tokens
        assert counted == usage.input_tokens + (usage.cache_read_input_tokens or 0)
        assert client.messages.count_tokens(**prompt | {"tools": []}).input_tokens < counted - 20

    def test_a_conversation_above_the_context_is_counted(self, client: Anthropic) -> None:
        messages: Any = [{"role": "user", "content": "word " * 40_000}]
        assert client.messages.count_tokens(model=AGENT, messages=messages).input_tokens > 32_768
        messages = [{"role": "user", "content": "word " * 4_000}]
        assert client.messages.count_tokens(model=SHORT, messages=messages).input_tokens > 128


class TestModels:
    def test_list_and_one(self, client: Anthropic) -> None:
        found = {model.id: model for model in client.models.list(limit=1000)}
        assert found[AGENT].type == "model" and found[AGENT].display_name == AGENT
        assert found[AGENT].created_at.year >= 2025 and found[AGENT].max_input_tokens == 32768
        assert client.models.retrieve(AGENT).id == AGENT


class TestErrors:
    def test_unknown_model(self, client: Anthropic) -> None:
        with pytest.raises(anthropic.NotFoundError) as caught:
            client.messages.create(**asked("hi", model="tests/agents"))
        assert caught.value.type == "not_found_error" and caught.value.error_code == "model_not_found"
        assert AGENT in caught.value.message and caught.value.request_id

    @pytest.mark.parametrize("stream", [False, True])
    def test_overflow_has_the_text_that_agents_look_for(self, client: Anthropic, stream: bool) -> None:
        with pytest.raises(anthropic.BadRequestError) as caught:
            client.messages.create(**asked("word " * 40_000, stream=stream))
        found = OVERFLOW.match(caught.value.api_message or "")
        assert found and int(found["tokens"]) > int(found["most"]) == 32768

    def test_image_for_a_model_without_vision(self, client: Anthropic) -> None:
        source = {"type": "base64", "media_type": "image/png", "data": encoded(png())}
        image: Any = {"type": "image", "source": source}
        with pytest.raises(anthropic.BadRequestError, match="image"):
            client.messages.create(**asked("hi") | {"messages": [{"role": "user", "content": [image]}]})

    def test_wrong_value(self, client: Anthropic) -> None:
        with pytest.raises(anthropic.BadRequestError, match="temperature"):
            client.messages.create(**asked("hi"), extra_body={"temperature": 1.5})


def test_closed_stream_cancels_its_request(client: Anthropic, daemon: Daemon) -> None:
    with client.messages.stream(**asked("caseforever", max_tokens=20_000)) as stream:
        for number, _ in enumerate(stream.text_stream):
            if number == 5:
                break
        assert running(daemon)
    wait_until(lambda: not running(daemon), 5, "the request is gone")


def running(daemon: Daemon) -> list[Any]:
    rows: list[Any] = daemon.admin("GET", "/admin/requests")
    return [row for row in rows if row["state"] not in ("finished", "failed", "cancelled")]


def test_bytes_on_the_wire_are_named_events(daemon: Daemon) -> None:
    body = asked("hi", stream=True)
    answer = httpx2.post(f"{daemon.address}/v1/messages?beta=true", json=body, timeout=60)
    events = [part.split("\n") for part in answer.text.strip().split("\n\n") if not part.startswith(":")]
    assert [event[0] for event in events if "ping" not in event[0]] == [
        "event: message_start",
        "event: content_block_start",
        *["event: content_block_delta"] * (len(events) - 5),
        "event: content_block_stop",
        "event: message_delta",
        "event: message_stop",
    ]
    assert all(data.startswith("data: {") for _, data in events)

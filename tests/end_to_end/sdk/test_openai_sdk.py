"""The unmodified OpenAI SDK against the real daemon and the built-in model."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest
from openai import OpenAI

from tests.end_to_end.running import Daemon
from tests.openai_types import check, check_stream

GUIDE = "lmx/guide"
OVERFLOW = re.compile(
    r"prompt is too long: (?P<tokens>\d+) tokens > (?P<most>\d+) maximum; exceeds the context window: "
    r"this model's maximum context length is (?P=most) tokens"
)
"""Phrases by which agents recognise an overflow and compact their conversation."""
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather for a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "City name"}},
            "required": ["city"],
        },
    },
}


def connect(daemon: Daemon, key: str = "lmx") -> OpenAI:
    """Return a client. The caller closes it: a socket left to the garbage collector would fail an unrelated test."""
    return OpenAI(base_url=f"{daemon.address}/v1", api_key=key, max_retries=0)


@pytest.fixture
def client(daemon: Daemon) -> Iterator[OpenAI]:
    with connect(daemon) as client:
        yield client


def ask(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


class TestModels:
    def test_models_on_disk_are_listed(self, client: OpenAI) -> None:
        assert [model.id for model in client.models.list()] == [GUIDE, "tests/talker"]

    def test_one_model_by_id_with_its_slash(self, client: OpenAI, daemon: Daemon) -> None:
        assert client.models.retrieve(GUIDE).id == GUIDE
        assert daemon.get("/v1/models/lmx/guide")[1]["id"] == GUIDE
        assert daemon.get("/v1/models/lmx%2Fguide")[1]["id"] == GUIDE

    def test_the_error_of_an_unknown_model_names_the_nearest(self, client: OpenAI) -> None:
        with pytest.raises(openai.NotFoundError) as error:
            client.chat.completions.create(model="lmx/guides", messages=ask("hi"))
        assert error.value.code == "model_not_found"
        assert GUIDE in str(error.value)


class TestChat:
    def test_an_answer_with_usage(self, client: OpenAI) -> None:
        answer = client.chat.completions.create(model=GUIDE, messages=ask("What port does lmx use?"))
        assert "1234" in (answer.choices[0].message.content or "")
        assert answer.choices[0].finish_reason == "stop"
        assert answer.usage is not None
        assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens

    def test_stream_has_the_text_of_the_whole_answer(self, client: OpenAI) -> None:
        whole = client.chat.completions.create(model=GUIDE, messages=ask("What is lmx?")).choices[0].message.content
        stream = client.chat.completions.create(
            model=GUIDE, messages=ask("What is lmx?"), stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole
        assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens > 1
        assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"

    def test_the_second_turn_hits_the_prefix_cache(self, client: OpenAI) -> None:
        messages = ask("How do I download a model?")
        first = client.chat.completions.create(model=GUIDE, messages=messages)
        messages += [{"role": "assistant", "content": first.choices[0].message.content or ""}, *ask("And then?")]
        second = client.chat.completions.create(model=GUIDE, messages=messages)
        assert second.usage is not None and second.usage.prompt_tokens_details is not None
        assert (second.usage.prompt_tokens_details.cached_tokens or 0) > 0

    def test_seed_repeats_an_answer_beside_other_requests(self, client: OpenAI) -> None:
        def sampled(seed: int) -> str:
            return (
                client.completions.create(
                    model="tests/talker", prompt="one two three", max_tokens=24, temperature=1.0, seed=seed
                )
                .choices[0]
                .text
            )

        alone = sampled(7)
        others = client.completions.create(
            model="tests/talker", prompt="something else", max_tokens=200, temperature=1.0, stream=True
        )
        next(iter(others))
        assert sampled(7) == alone
        assert sampled(8) != alone
        others.close()

    def test_max_tokens_ends_with_length(self, client: OpenAI) -> None:
        answer = client.chat.completions.create(model=GUIDE, messages=ask("What is lmx?"), max_completion_tokens=3)
        assert answer.choices[0].finish_reason == "length"
        assert answer.usage is not None and answer.usage.completion_tokens == 3

    def test_a_stop_string_cuts_and_is_not_shown(self, client: OpenAI) -> None:
        answer = client.chat.completions.create(model=GUIDE, messages=ask("What port does lmx use?"), stop=["1234"])
        assert "1234" not in (answer.choices[0].message.content or "")
        assert answer.choices[0].finish_reason == "stop"

    def test_several_choices(self, client: OpenAI) -> None:
        answer = client.completions.create(
            model="tests/talker", prompt="a b c", max_tokens=8, n=3, temperature=1.0, seed=1
        )
        assert [choice.index for choice in answer.choices] == [0, 1, 2]
        assert len({choice.text for choice in answer.choices}) > 1

    def test_several_prompts_have_one_answer_whole_and_streamed(self, client: OpenAI) -> None:
        prompts = ["a b c", "one two three", "x"]

        def asked(prompt: str | list[str], **fields: bool) -> Any:
            return client.completions.create(
                model="tests/talker", prompt=prompt, max_tokens=6, n=2, temperature=0.9, seed=3, **fields
            )

        alone = [choice.text for prompt in prompts for choice in asked(prompt).choices]
        answer = asked(prompts)
        assert [choice.text for choice in answer.choices] == alone
        assert answer.usage.completion_tokens == 36
        streamed = [""] * 6
        for chunk in asked(prompts, stream=True):
            streamed[chunk.choices[0].index] += chunk.choices[0].text
        assert streamed == alone


class TestTools:
    def test_tool_call_is_returned(self, client: OpenAI) -> None:
        answer = client.chat.completions.create(
            model=GUIDE, messages=ask("What is the weather in Paris?"), tools=[WEATHER]
        )
        assert answer.choices[0].finish_reason == "tool_calls"
        (call,) = answer.choices[0].message.tool_calls or []
        assert call.function.name == "get_weather"
        assert json.loads(call.function.arguments) == {"city": "Paris"}

    @pytest.mark.parametrize(
        ("choice", "reason"),
        [
            ("none", "stop"),
            ("required", "tool_calls"),
            ({"type": "function", "function": {"name": "get_weather"}}, "tool_calls"),
        ],
    )
    def test_rule_on_calls_is_followed(self, client: OpenAI, choice: Any, reason: str) -> None:
        text = "What is the weather in Paris?" if choice == "none" else "What is lmx?"
        answer = client.chat.completions.create(
            model=GUIDE, messages=ask(text), tools=[WEATHER], tool_choice=choice, temperature=0
        )
        assert answer.choices[0].finish_reason in (reason, "length")
        assert bool(answer.choices[0].message.tool_calls) is (reason == "tool_calls")

    def test_streamed_call_and_its_result_are_accepted(self, client: OpenAI) -> None:
        question = ask("What is the weather in Paris?")
        name, arguments, call_id = "", "", ""
        for chunk in client.chat.completions.create(model=GUIDE, messages=question, tools=[WEATHER], stream=True):
            for delta in chunk.choices[0].delta.tool_calls or []:
                name += (delta.function and delta.function.name) or ""
                arguments += (delta.function and delta.function.arguments) or ""
                call_id = delta.id or call_id
        assert name == "get_weather"
        assert call_id
        call = {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
        messages = [
            *question,
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": call_id, "content": "18 degrees and sunny"},
        ]
        answer = client.chat.completions.create(model=GUIDE, messages=messages, tools=[WEATHER])
        assert answer.choices[0].finish_reason == "stop"
        assert answer.choices[0].message.content


class TestErrors:
    def test_a_bad_value_names_its_field(self, client: OpenAI) -> None:
        with pytest.raises(openai.BadRequestError) as error:
            client.chat.completions.create(model=GUIDE, messages=ask("hi"), temperature=9)
        assert error.value.param == "temperature"

    def test_error_of_a_bad_role_names_its_position(self, client: OpenAI) -> None:
        with pytest.raises(openai.BadRequestError) as error:
            client.chat.completions.create(model=GUIDE, messages=[{"role": "wizard", "content": "hi"}])
        assert error.value.param == "messages[0].role"

    def test_model_that_cannot_fill_in_text_refuses_a_suffix(self, client: OpenAI) -> None:
        with pytest.raises(openai.BadRequestError) as error:
            client.completions.create(model=GUIDE, prompt="def f():", suffix="return x")
        assert error.value.param == "suffix"

    def test_a_prompt_beyond_the_context_is_refused_with_numbers(self, client: OpenAI) -> None:
        with pytest.raises(openai.BadRequestError) as error:
            client.chat.completions.create(model=GUIDE, messages=ask("word " * 9000))
        assert error.value.code == "context_length_exceeded"
        assert OVERFLOW.match(error.value.body["message"])  # type: ignore[index]

    def test_error_of_a_text_that_is_refused_without_tokenisation_has_the_same_form(self, client: OpenAI) -> None:
        for text in ("word " * 60_000, "x" * 8_000_000):
            with pytest.raises(openai.BadRequestError) as error:
                client.completions.create(model=GUIDE, prompt=text)
            assert error.value.code == "context_length_exceeded" and error.value.param == "prompt"
            assert (found := OVERFLOW.match(error.value.body["message"]))  # type: ignore[index]
            assert int(found["tokens"]) > int(found["most"])

    @pytest.mark.parametrize("policy", ["rolling", "truncate_middle"])
    def test_prompt_beyond_the_context_is_shortened_on_request_and_the_answer_states_it(
        self, client: OpenAI, policy: str
    ) -> None:
        messages = [*ask("word " * 900), {"role": "assistant", "content": "So?"}] * 9 + ask("What port does lmx use?")
        answer = client.chat.completions.create(
            model=GUIDE, messages=messages, max_tokens=2, extra_body={"overflow": policy}
        )
        assert answer.usage is not None and answer.usage.prompt_tokens_details is not None
        assert (answer.usage.prompt_tokens_details.model_extra or {})["truncated_tokens"] > 0
        assert answer.usage.completion_tokens == 2

    def test_configured_key_is_required(self, own_daemon: Daemon) -> None:
        own_daemon.environment["LMX_API_KEY"] = "sesame"
        own_daemon.start()
        with connect(own_daemon, "wrong") as client, pytest.raises(openai.AuthenticationError):
            client.models.list()
        with connect(own_daemon, "sesame") as client:
            assert client.models.list().data[0].id == GUIDE


def test_the_bytes_on_the_wire_end_with_usage_and_done(daemon: Daemon) -> None:
    body = {"model": GUIDE, "messages": ask("What is lmx?"), "stream": True, "stream_options": {"include_usage": True}}
    answer = httpx2.post(f"{daemon.address}/v1/chat/completions", json=body, timeout=60)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["x-request-id"]
    events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    assert json.loads(events[-2])["usage"]["completion_tokens"] > 0


class TestTypes:
    """Bytes on the wire against the types of the `openai` package and the schemas in tests/schemas."""

    def post(self, daemon: Daemon, path: str, body: dict[str, object]) -> bytes:
        answer = httpx2.post(f"{daemon.address}{path}", json=body, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.content

    @pytest.mark.parametrize("text", ["What is lmx?", "What is the weather in Paris?"])
    @pytest.mark.parametrize("form", ["tools", "functions", "neither"])
    def test_chat_answers_are_valid(self, daemon: Daemon, text: str, form: str) -> None:
        body = {"model": GUIDE, "messages": ask(text), "max_tokens": 40, "logprobs": True, "top_logprobs": 2}
        body |= {"tools": {"tools": [WEATHER]}, "functions": {"functions": [WEATHER["function"]]}}.get(form, {})
        check("chat_completion", self.post(daemon, "/v1/chat/completions", body))
        for usage in (False, True):
            stream = {"stream": True, "stream_options": {"include_usage": usage}}
            chunks = check_stream("chat_completion_chunk", self.post(daemon, "/v1/chat/completions", body | stream))
            assert len(chunks) > 1 and bool(chunks[-1].get("usage")) is usage

    def test_completions_are_valid(self, daemon: Daemon) -> None:
        body = {"model": "tests/talker", "prompt": "a b c", "max_tokens": 8, "n": 2, "logprobs": 2, "temperature": 1}
        check("completion", self.post(daemon, "/v1/completions", body))
        check_stream("completion_chunk", self.post(daemon, "/v1/completions", body | {"stream": True}))

    def test_models_and_errors_are_valid(self, daemon: Daemon) -> None:
        with httpx2.Client(base_url=daemon.address, timeout=60) as client:
            assert len(check("model_list", client.get("/v1/models").content)["data"]) == 2
            check("model", client.get(f"/v1/models/{GUIDE}").content)
            for answer in (
                client.get("/v1/models/none"),
                client.get("/v1/none"),
                client.post("/v1/chat/completions", json={"model": GUIDE, "messages": ask("x"), "temperature": 9}),
                client.post("/v1/completions", content=b"{", headers={"content-type": "application/json"}),
                client.get("/v1/models", headers={"host": "elsewhere.example"}),
                client.get("/v1/models", headers={"origin": "https://elsewhere.example"}),
            ):
                assert answer.status_code >= 400
                check("error", answer.content)

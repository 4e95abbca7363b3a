"""Tests of the settings of one model. Requests and loads override them; they override the settings of the engine."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from lmx_daemon.contract.admin.protocol import LoadRequest
from lmx_daemon.contract.generation.requests import Chat, Count, Generate, Sampling, Text
from lmx_daemon.residency.decisions.own_settings import NONE, with_own_settings, with_own_sizes
from lmx_daemon.settings.schema import ModelSettings, Settings
from tests.residency.fakes import GB, Harness

OWN = ModelSettings(
    context=300,
    parallel=2,
    ttl=7.0,
    pin=True,
    temperature=0.3,
    presence_penalty=1.0,
    max_tokens=9,
    thinking=False,
    thinking_budget=5,
    template={"reasoning_effort": "low", "tone": "dry"},
)


def generate(**fields: Any) -> Generate:
    return Generate(id="r", model="m", **{"prompt": Text(text="x"), **fields})


def test_a_request_gets_the_settings_that_it_does_not_name() -> None:
    found = with_own_settings(generate(prompt=Chat(messages=())), OWN)
    assert isinstance(found, Generate) and isinstance(found.prompt, Chat)
    assert found.sampling == Sampling(temperature=0.3, presence_penalty=1.0)
    assert (found.max_tokens, found.thinking_budget, found.prompt.thinking) == (9, 5, False)
    assert found.prompt.template_arguments == OWN.template


def test_a_value_in_a_request_overrides_the_setting_even_if_it_is_zero() -> None:
    prompt = Chat(messages=(), thinking=True, template_arguments={"tone": "warm"})
    sampling = Sampling(temperature=0.0, presence_penalty=0.0)
    found = with_own_settings(generate(prompt=prompt, sampling=sampling, max_tokens=3, thinking_budget=0), OWN)
    assert isinstance(found, Generate) and isinstance(found.prompt, Chat)
    assert found.sampling == sampling
    assert (found.max_tokens, found.thinking_budget, found.prompt.thinking) == (3, 0, True)
    assert found.prompt.template_arguments == {"reasoning_effort": "low", "tone": "warm"}


def test_a_token_count_gets_the_template_arguments_of_a_generation() -> None:
    found = with_own_settings(Count(id="r", model="m", prompt=Chat(messages=())), OWN)
    assert isinstance(found.prompt, Chat) and found.prompt.template_arguments == OWN.template


def test_a_request_for_a_model_without_settings_is_unchanged() -> None:
    request = generate()
    assert with_own_settings(request, NONE) is request


def test_a_load_gets_the_sizes_that_it_does_not_name() -> None:
    assert with_own_sizes(LoadRequest(model="m"), OWN) == LoadRequest(
        model="m", context_length=300, slots=2, ttl=7.0, pin=True
    )
    given = LoadRequest(model="m", context_length=1, slots=1, ttl=0.5, pin=False)
    assert with_own_sizes(given, OWN) == given


class TestLoads:
    @pytest.fixture
    def harness(self, make_harness: Callable[..., Harness]) -> Harness:
        harness = make_harness(4 * GB)
        harness.settings.replace(msgspec.structs.replace(Settings(), models={"a": OWN}))
        return harness

    def test_a_load_by_a_request_has_the_sizes_of_the_model(self, harness: Harness) -> None:
        harness.ask("a")
        instance = harness.instance("a")
        assert (instance.ttl, instance.pinned) == (7.0, True)
        assert instance.plan is not None and (instance.plan.context, instance.plan.slots) == (300, 2)

    def test_a_model_without_settings_has_those_of_the_engine(self, harness: Harness) -> None:
        harness.ask("b")
        instance = harness.instance("b")
        assert instance.ttl == 3600.0 and not instance.pinned

    def test_a_load_command_has_the_sizes_of_the_model(self, harness: Harness) -> None:
        worker = harness.loaded("a")
        assert worker.command is not None
        assert (worker.command.options.context_length, worker.command.options.max_running) == (300, 2)

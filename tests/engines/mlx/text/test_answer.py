"""Tokens to events: where an answer ends, and that no text before its end is lost."""

from typing import Any

import pytest
from mlx_lm.utils import load_tokenizer

from lmx_daemon.contract.errors import RequestError
from lmx_daemon.contract.generation.constraint import Constraint, JsonSchema
from lmx_daemon.contract.generation.events import Delta
from lmx_daemon.contract.generation.requests import Chat, Generate, Text, ToolChoice
from lmx_daemon.engines.mlx.batch.step import Token
from lmx_daemon.engines.mlx.sampling.parameters import GREEDY
from lmx_daemon.engines.mlx.text.answer import BANNED, AnswerRecord
from lmx_daemon.engines.mlx.text.families.family import PLAIN, Envelope, Family
from lmx_daemon.engines.mlx.text.families.hermes import CALLS, HERMES
from lmx_daemon.engines.mlx.text.prompts.prompt import PreparedPrompt
from tests.models import build_model

TOOL = {"type": "function", "function": {"name": "f"}}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_tokenizer(build_model("llama", tmp_path_factory.mktemp("model")))


def answer_of(
    tokenizer: Any, text: str, reason: str | None, family: Family = PLAIN, **fields: Any
) -> tuple[str, str, str | None]:
    """Return content, ending reason and stop string of an answer with the tokens of `text`; the last has `reason`."""
    request = Generate(id="r", model="m", prompt=Text(text="x"), **fields)
    answer = AnswerRecord(request, PreparedPrompt([1], [TOOL]), 0.0, 0.0, 0)
    (choice,) = answer.start(99, GREEDY, tokenizer, family)
    content, tokens = "", tokenizer.encode(text, add_special_tokens=False)
    for place, token in enumerate(tokens, 1):
        events = answer.consume(Token(choice, token, reason if place == len(tokens) else None), tokenizer)
        content += "".join(event.content for event in events if isinstance(event, Delta))
    (ending,) = answer.finished().endings
    return content, ending.reason, ending.matched_stop


def test_a_stop_string_in_the_middle_ends_the_answer(tokenizer: Any) -> None:
    assert answer_of(tokenizer, "one STOP two", None, stop=("STOP",)) == ("one ", "stop", "STOP")


@pytest.mark.parametrize("reason", ["length", None])
def test_a_stop_string_at_the_last_token_is_matched(tokenizer: Any, reason: str | None) -> None:
    assert answer_of(tokenizer, "one two STOP", reason, stop=("STOP",)) == ("one two ", "stop", "STOP")


def test_an_incomplete_stop_string_is_emitted(tokenizer: Any) -> None:
    assert answer_of(tokenizer, "one ST", "length", stop=("STOP",)) == ("one ST", "length", None)


def test_limit_on_tokens_is_the_reason_of_an_end_after_a_call(tokenizer: Any) -> None:
    call = '<tool_call>{"name": "f", "arguments": {}}</tool_call>'
    assert answer_of(tokenizer, call + ".", "stop", HERMES)[1] == "tool_calls"
    assert answer_of(tokenizer, call + " and then", "length", HERMES)[1] == "length"


def test_a_request_that_forbids_calls_bans_their_marker_and_parses_none(tokenizer: Any) -> None:
    marker = Family("f", (Envelope("e", CALLS.read),))  # one token of the tokenizer
    chat = Chat(messages=(), tool_choice=ToolChoice(mode="none"))
    answer = AnswerRecord(Generate(id="r", model="m", prompt=chat), PreparedPrompt([1], [TOOL]), 0.0, 0.0, 0)
    (choice,) = answer.start(99, GREEDY, tokenizer, marker)
    (banned,) = tokenizer.encode("e", add_special_tokens=False)
    assert choice.params.bias == {banned: BANNED}
    assert choice.parser.feed("hello").content == "hello" and not choice.parser.made_calls


@pytest.mark.parametrize(
    ("constraint", "param"), [(JsonSchema(schema={}, param="response_format"), "response_format"), (None, "tools")]
)
def test_a_grammar_that_cannot_be_followed_is_a_fault_of_the_request(
    tokenizer: Any, constraint: Constraint | None, param: str
) -> None:
    with pytest.raises(RequestError, match=f"{param}: the grammar cannot be followed") as refused:
        answer_of(tokenizer, "{", "failed", constraint=constraint)
    assert refused.value.param == param

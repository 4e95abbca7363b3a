"""Refusals of what the engine cannot do yet."""

import pytest

from lmx_daemon.contract.errors import UnsupportedError
from lmx_daemon.contract.requests import Chat, Generate, Message, Text, Tool
from lmx_daemon.engines.mlx.schedule import unsupported

MESSAGES = (Message(role="user"),)
PLAIN = Chat(messages=MESSAGES)


def request(prompt: Chat | Text = PLAIN, **fields: object) -> Generate:
    return Generate(id="1", model="m", prompt=prompt, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("generate", "param"),
    [
        (request(Chat(messages=MESSAGES, tools=(Tool(name="f", strict=True),))), "tools"),
    ],
)
def test_an_unsupported_feature_is_refused_by_its_field(generate: Generate, param: str) -> None:
    with pytest.raises(UnsupportedError) as error:
        unsupported.check(generate)
    assert error.value.param == param


def test_a_request_without_such_features_passes() -> None:
    unsupported.check(request())
    unsupported.check(request(Text(text="a")))

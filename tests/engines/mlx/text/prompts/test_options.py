"""Options of a decision as tokens: each excludes the others."""

import pytest

from lmx_daemon.contract.errors import RequestError
from lmx_daemon.engines.mlx.text.prompts.options import MAX_TOKENS, option_tokens

END = 900


def encode(text: str) -> list[int]:
    return [ord(letter) for letter in text if letter != "~"]


def test_options_of_one_token_stay_as_they_are() -> None:
    assert option_tokens(["A", "B"], encode, {END}) == ((65,), (66,))


def test_option_with_which_another_begins_is_followed_by_an_end() -> None:
    found = option_tokens(["A", "AB", "ABC", "B"], encode, {END, 901})
    assert found == ((65, END), (65, 66, END), (65, 66, 67), (66,))


def test_without_an_end_token_options_stay_as_they_are() -> None:
    assert option_tokens(["A", "AB"], encode, ()) == ((65,), (65, 66))


@pytest.mark.parametrize(
    ("texts", "place", "words"),
    [
        (["A", "B", "A~"], "options[2]", "the same tokens as options[0]"),
        (["A", "~"], "options[1]", "has no tokens"),
        (["A" * (MAX_TOKENS + 1)], "options[0]", f"at most {MAX_TOKENS} are allowed"),
    ],
)
def test_options_that_cannot_be_told_apart_are_refused(texts: list[str], place: str, words: str) -> None:
    with pytest.raises(RequestError) as raised:
        option_tokens(texts, encode, {END})
    assert raised.value.param == place and words in raised.value.message

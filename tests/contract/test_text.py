"""Tests of sanitising: the result for any input is accepted by every encoder."""

import json
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmx_daemon.contract.text import MAX_DEPTH, encodable, one_line, shortened, valid_text, without_secrets

ANY_TEXT = st.text(st.characters(exclude_categories=()))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner),
)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("plain", "plain"),
        ("é€😀", "é€😀"),
        ("\ud83d", "\ufffd"),
        ("a\ude00b", "a\ufffdb"),
        ("\ud83d\ude00", "😀"),
        ("\ud83d\ud83d\ude00", "\ufffd😀"),
        ("caf\udce9.txt", "caf\ufffd.txt"),
    ],
)
def test_lone_surrogates_are_replaced_and_pairs_joined(given: str, expected: str) -> None:
    assert valid_text(given) == expected


@given(ANY_TEXT)
def test_any_text_becomes_valid_utf_8_and_conversion_is_idempotent(text: str) -> None:
    valid = valid_text(text)
    assert valid_text(valid.encode().decode()) == valid


@given(VALUES)
def test_any_value_becomes_encodable(value: Any) -> None:
    msgspec.msgpack.encode(encodable(value))
    msgspec.json.encode(encodable(value))


def test_valid_values_are_unchanged_and_tuples_become_lists() -> None:
    value = {"a": [1, -(2**63), 2**64 - 1, 1.5, True, None, "é"], "b": {"c": "😀"}}
    assert encodable(value) == value
    assert encodable({"a": (1, 2)}) == {"a": [1, 2]}
    assert encodable(True) is True


def test_integers_and_nesting_are_bounded() -> None:
    assert encodable([2**70, -(2**70)]) == [2**64 - 1, -(2**63)]
    deep: Any = json.loads("[" * 900 + "]" * 900)
    result = encodable(deep)
    for _ in range(MAX_DEPTH - 1):
        (result,) = result
    assert result == [None]


@given(ANY_TEXT)
def test_one_line_contains_no_line_breaks_and_control_characters(text: str) -> None:
    line = one_line(text)
    assert len(f"{line}x".splitlines()) == 1 and "\x1b" not in line
    line.encode()


def test_one_line_escapes_are_readable() -> None:
    assert one_line("a\nb\x1b[1m\x9b\u202e\u2028é") == "a\\nb\\x1b[1m\\x9b\\u202e\\u2028é"


@given(st.text(), st.integers(3, 40))
def test_shortened_text_keeps_its_begin_and_its_end(text: str, most: int) -> None:
    short = shortened(text, most)
    assert len(short) == min(len(text), most)
    assert short == text or "..." in short
    assert shortened("abcdefghij", 9) == "abcd...ij"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no address", "no address"),
        ("https://huggingface.co/owner/name@v1", "https://huggingface.co/owner/name@v1"),
        ("cannot reach https://user:p@ss@hub.test:8/x: refused", "cannot reach https://hub.test:8/x: refused"),
        ("<http://token@[::1]:80>", "<http://[::1]:80>"),
        ("for url 'https://cdn.test/b?Signature=abc&Expires=1' (403)", "for url 'https://cdn.test/b?...' (403)"),
        ("https://a:b@x/y?z https://c:d@y?e", "https://x/y?... https://y?..."),
        ("is this https://x/y? yes", "is this https://x/y? yes"),
    ],
)
def test_addresses_are_shown_without_credentials_and_queries(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


@pytest.mark.parametrize("piece", ["://", "a", "://a", "://?", "?", "@"])
def test_long_text_is_freed_of_secrets_in_linear_time(piece: str) -> None:
    begun = time.process_time()
    without_secrets("http://" + piece * 200_000)
    assert time.process_time() - begun < 2.0

"""Ids of tool calls: unique, in Anthropic's form, and the model's own again when they return."""

import re

import pytest

from lmx_daemon.http.dialects.anthropic.call_ids import received, sent


@pytest.mark.parametrize("identity", ["functions.Bash:0", "000000000", "é", "a" * 200])
def test_id_of_a_model_is_unique_in_each_turn_and_returns_as_it_was(identity: str) -> None:
    first, second = sent(identity), sent(identity)
    assert first != second and all(re.fullmatch(r"[a-zA-Z0-9_-]+", each) for each in (first, second))
    assert received(first) == received(second) == identity


@pytest.mark.parametrize("identity", ["", "call_0123456789abcdef01234567"])
def test_own_id_is_sent_unchanged(identity: str) -> None:
    assert sent(identity) == identity


@pytest.mark.parametrize("identity", ["toolu_01AbC", "toolu_01234567_", "toolu_01234567_-", "toolu_01234567_gICA", "t"])
def test_id_of_another_server_is_kept(identity: str) -> None:
    assert received(identity) == identity

"""Tests of the texts of errors: bounded in length, in one line, and the same after a way over a socket."""

import pytest

from lmx_daemon.contract.errors import MAX_TEXT, LmxError, ModelLoadError, error_from


@pytest.mark.parametrize("text", ["x" * 1_000_000, "\x1b[2J" * 100_000, "\u202e" * MAX_TEXT])
def test_long_texts_are_bounded(text: str) -> None:
    error = ModelLoadError(f"Missing 9207 parameters: {text}", hint=text, param=text)
    body = error.body()
    assert max(len(body.message), len(body.hint or ""), len(body.param or "")) <= MAX_TEXT
    assert body.message.startswith("Missing 9207 parameters: ") and "..." in body.message
    assert error_from(body).body() == body


def test_control_and_bidi_characters_are_visible() -> None:
    error = LmxError("a\x1b[31m\u202eb\nc", hint="d\x1b", param="e\u2066")
    assert error.message == "a\\x1b[31m\\u202eb\\nc"
    assert (error.hint, error.param) == ("d\\x1b", "e\\u2066")

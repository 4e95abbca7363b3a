"""Positions at which a growing markdown text can be cut."""

import pytest

from lmx_tui.widgets.chat.blocks import closed_cut, last_code_block, open_fence, without_partial_fence


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("one", ""),
        ("one\n\n", ""),
        ("one\n\ntwo", ""),
        ("one\n\ntwo more", "one\n\n"),
        ("```\na\n\nb c d", ""),
        ("```\na\n```\n\nafter it", "```\na\n```\n\n"),
        ("- a\n\n- b and c", ""),
        ("1. a\n\n   more of a", ""),
        ("~~~\n```\n\nstill code", ""),
    ],
)
def test_cut_does_not_split_a_block(text: str, cut: str) -> None:
    assert text[: closed_cut(text)] == cut


def test_open_fences_and_the_last_code_block_are_found() -> None:
    fence = open_fence("a\n```py\nx")
    assert fence is not None and fence.info == "py"
    assert open_fence("```py\nx\n```\n") is None
    assert open_fence("````\n```\nx") is not None, "a shorter fence does not close a longer one"
    assert without_partial_fence("text\n``") == "text\n"
    assert without_partial_fence("a `code`") == "a `code`"
    assert last_code_block("```\na\n```\n\n```\nb") == "b"
    assert last_code_block("no code") is None

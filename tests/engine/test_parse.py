"""Text to content, reasoning and calls: the same however the text is cut into pieces."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmx_daemon.engine.parse import Markers, OutputParser

MARKERS = Markers("<think>", "</think>", "<tool_call>", "</tool_call>", lambda text, tools: json.loads(text))
TOOLS: list[dict[str, Any]] = [{"type": "function", "function": {"name": "f"}}]
CALL = '<tool_call>\n{"name": "f", "arguments": {"a": "x"}}\n</tool_call>'

Result = tuple[str, str, list[tuple[int, str | None, str]], str | None]


def parse(pieces: list[str], **options: Any) -> Result:
    parser = OutputParser(MARKERS, **options)
    content, reasoning, matched = "", "", None
    calls: list[tuple[int, str | None, str]] = []
    for piece in [*map(parser.feed, pieces), parser.finish()]:
        content += piece.content
        reasoning += piece.reasoning
        calls += [(call.index, call.name, call.arguments) for call in piece.calls]
        matched = matched or piece.matched_stop
    return content, reasoning, calls, matched


class TestWhole:
    def test_plain(self) -> None:
        assert parse(["Hello there"]) == ("Hello there", "", [], None)

    def test_thinking(self) -> None:
        assert parse(["<think>\nhmm\n</think>\n\nYes"]) == ("Yes", "hmm", [], None)

    def test_a_prompt_that_opened_the_thought(self) -> None:
        assert parse(["hmm\n</think>\n\nYes"], thinking=True) == ("Yes", "hmm", [], None)

    def test_a_call(self) -> None:
        assert parse([CALL], tools=TOOLS) == ("", "", [(0, "f", '{"a": "x"}')], None)

    def test_thought_words_and_two_calls(self) -> None:
        text = f"<think>so</think>\nI will.\n{CALL}\n{CALL}"
        content, reasoning, calls, _ = parse([text], tools=TOOLS)
        assert (content, reasoning) == ("I will.", "so")
        assert [index for index, *_ in calls] == [0, 1]

    def test_markup_is_content_where_no_tools_were_given(self) -> None:
        assert parse([CALL])[0] == CALL

    @pytest.mark.parametrize("broken", ["not json", '{"no": "name"}', '{"name": "f", "argum'])
    def test_what_cannot_be_read_as_a_call_is_not_lost(self, broken: str) -> None:
        content, _, calls, _ = parse([f"<tool_call>{broken}</tool_call>"], tools=TOOLS)
        assert content == f"<tool_call>{broken}</tool_call>" and not calls

    def test_an_unfinished_call_is_not_lost(self) -> None:
        assert parse(['<tool_call>{"name": "f"'], tools=TOOLS)[0] == '<tool_call>{"name": "f"'

    def test_a_stop_string_ends_content_but_not_thought(self) -> None:
        assert parse(["<think>a\n\nb</think>one\n\ntwo"], stop=["\n\n"]) == ("one", "a\n\nb", [], "\n\n")

    def test_the_stop_that_matched_is_told(self) -> None:
        assert parse(["one END two"], stop=["XYZ", "END"]) == ("one ", "", [], "END")


TEXTS = st.lists(
    st.sampled_from(["<think>", "</think>", CALL, "word ", " ", "\n", "<", "<tool", "STOP", "é🙂", "</tool_call>"]),
    max_size=8,
).map("".join)


@settings(deadline=None)
@given(text=TEXTS, data=st.data())
def test_cutting_changes_nothing(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=10)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert parse(pieces, tools=TOOLS, stop=["STOP"]) == parse([text], tools=TOOLS, stop=["STOP"])


@settings(deadline=None)
@given(text=st.text(max_size=60))
def test_text_without_markers_comes_through_unchanged(text: str) -> None:
    assert parse(list(text))[0] == (text if "<think>" not in text else parse([text])[0])

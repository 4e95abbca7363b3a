"""Text to content, reasoning and calls, independent of how the text is cut into pieces."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmx_daemon.engines.mlx.text.families.family import Family
from lmx_daemon.engines.mlx.text.families.hermes import HERMES
from lmx_daemon.engines.mlx.text.families.kimi_k2 import KIMI_K2
from lmx_daemon.engines.mlx.text.families.mistral import MISTRAL
from lmx_daemon.engines.mlx.text.families.pythonic import LFM2
from lmx_daemon.engines.mlx.text.output_parser import OutputParser

QWEN = replace(HERMES, think=("<think>", "</think>"))
TOOLS: list[dict[str, Any]] = [{"type": "function", "function": {"name": "f"}}]
CALL = '<tool_call>\n{"name": "f", "arguments": {"a": "x"}}\n</tool_call>'


Result = tuple[str, str, list[tuple[int, str | None, str]], str | None]


def parse(pieces: list[str], family: Family = QWEN, cut: bool = False, **options: Any) -> Result:
    parser = OutputParser(family, **options)
    content, reasoning, matched = "", "", None
    calls: list[tuple[int, str | None, str]] = []
    for piece in [*map(parser.feed, pieces), parser.finish(cut)]:
        content += piece.content
        reasoning += piece.reasoning
        for call in piece.calls:
            if call.name is not None:
                calls.append((call.index, call.name, ""))
            calls[-1] = (*calls[-1][:2], calls[-1][2] + call.arguments)
        matched = matched or piece.matched_stop
    return content, reasoning, calls, matched


class TestWhole:
    def test_plain_text_is_content(self) -> None:
        assert parse(["Hello there"]) == ("Hello there", "", [], None)

    def test_thinking_is_reasoning(self) -> None:
        assert parse(["<think>\nhmm\n</think>\n\nYes"]) == ("Yes", "hmm", [], None)

    def test_a_second_end_of_thinking_is_dropped(self) -> None:
        assert parse(["hmm</think>\n\nYes\n</think>\n\nand no"], thinking=True) == ("Yes\nand no", "hmm", [], None)
        assert parse(["An end without a block: </think>"])[0] == "An end without a block: </think>"

    def test_a_prompt_that_opened_thinking_starts_in_reasoning(self) -> None:
        assert parse(["hmm\n</think>\n\nYes"], thinking=True) == ("Yes", "hmm", [], None)

    def test_a_call(self) -> None:
        assert parse([CALL], tools=TOOLS) == ("", "", [(0, "f", '{"a": "x"}')], None)

    def test_reasoning_content_and_two_calls_are_separated(self) -> None:
        text = f"<think>so</think>\nI will.\n{CALL}\n{CALL}"
        content, reasoning, calls, _ = parse([text], tools=TOOLS)
        assert (content, reasoning) == ("I will.", "so")
        assert [index for index, *_ in calls] == [0, 1]

    def test_call_markup_is_content_without_tools(self) -> None:
        assert parse([CALL])[0] == CALL

    @pytest.mark.parametrize("broken", ["not json", '{"no": "name"}', '{"name": "f", "argum'])
    def test_an_unparsable_call_becomes_content(self, broken: str) -> None:
        content, _, calls, _ = parse([f"<tool_call>{broken}</tool_call>"], tools=TOOLS)
        assert content == f"<tool_call>{broken}</tool_call>" and not calls

    def test_an_unfinished_call_becomes_content(self) -> None:
        assert parse(['<tool_call>{"name": "f"'], tools=TOOLS)[0] == '<tool_call>{"name": "f"'

    def test_a_stop_string_ends_content_but_not_reasoning(self) -> None:
        assert parse(["<think>a\n\nb</think>one\n\ntwo"], stop=["\n\n"]) == ("one", "a\n\nb", [], "\n\n")

    def test_the_matched_stop_string_is_reported(self) -> None:
        assert parse(["one END two"], stop=["XYZ", "END"]) == ("one ", "", [], "END")


def ids_of(text: str, family: Family, **options: Any) -> list[str | None]:
    parser = OutputParser(family, tools=TOOLS, **options)
    return [call.id for piece in (parser.feed(text), parser.finish()) for call in piece.calls]


class TestWhiteSpaceAroundCalls:
    @pytest.mark.parametrize(
        ("text", "content"),
        [
            (f"hi{CALL}bye", "hi\nbye"),
            (f"hi {CALL}bye", "hi bye"),
            (f"hi\n\n{CALL}\n{CALL}\nbye", "hi\n\nbye"),
            (f"hi\n{CALL}\n", "hi"),
            (f"\n\n{CALL}\nbye\n", "bye"),
            (f"hi {CALL} <think>so</think>\n\nbye", "hi\n\nbye"),
        ],
    )
    def test_texts_around_calls_stay_separate(self, text: str, content: str) -> None:
        assert parse([text], tools=TOOLS)[0] == content

    @pytest.mark.parametrize("tools", [[], TOOLS])
    def test_texts_around_reasoning_stay_separate(self, tools: list[Any]) -> None:
        assert parse(["one <think>a</think>\n two<think>b</think>three"], tools=tools)[:2] == (
            ("one two\nthree" if not tools else "one\n two\nthree"),
            "a\nb",
        )


class TestCallsWithoutAnEndMarker:
    ONE = '[TOOL_CALLS]f[ARGS]{"a": "x"}'
    LIST = '[TOOL_CALLS][{"name": "f", "arguments": {"a": "x"}, "id": "abc123def"}]'

    @pytest.mark.parametrize("text", [ONE, LIST, '[TOOL_CALLS]f[CALL_ID]abc123def[ARGS]{"a": "x"}'])
    def test_a_call(self, text: str) -> None:
        assert parse([f"Sure. {text}"], MISTRAL, tools=TOOLS) == ("Sure.", "", [(0, "f", '{"a": "x"}')], None)

    @pytest.mark.parametrize("second", [ONE, ONE.removeprefix("[TOOL_CALLS]")])
    def test_two_calls_are_parsed(self, second: str) -> None:
        assert [index for index, *_ in parse([self.ONE + second], MISTRAL, tools=TOOLS)[2]] == [0, 1]

    @pytest.mark.parametrize("text", [ONE, LIST])
    def test_text_behind_a_call_is_content(self, text: str) -> None:
        for pieces in ([f"hi {text}\n\nbye"], list(f"hi {text}\n\nbye")):
            content, _, calls, _ = parse(pieces, MISTRAL, tools=TOOLS)
            assert (content, len(calls)) == ("hi\n\nbye", 1)

    def test_a_marker_in_an_argument_is_kept(self) -> None:
        text = '[TOOL_CALLS]f[ARGS]{"a": "[TOOL_CALLS]f"}'
        assert parse(list(text), MISTRAL, tools=TOOLS)[2] == [(0, "f", '{"a": "[TOOL_CALLS]f"}')]

    def test_at_the_token_limit_a_call_that_has_begun_keeps_what_was_written(self) -> None:
        assert parse([self.ONE], MISTRAL, cut=True, tools=TOOLS)[2] == [(0, "f", '{"a": "x"}')]
        assert parse([self.ONE[:-1]], MISTRAL, cut=True, tools=TOOLS)[2] == [(0, "f", '{"a": "x"')]
        assert parse([self.ONE[:-10]], MISTRAL, cut=True, tools=TOOLS) == ("", "", [], None)


class TestIds:
    SECTION = (
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{}<|tool_call_end|>"
        "<|tool_call_begin|>functions.f:1<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>"
    )

    def test_the_models_own_ids_are_kept(self) -> None:
        assert ids_of(self.SECTION, KIMI_K2) == ["functions.f:0", "functions.f:1"]
        assert ids_of(TestCallsWithoutAnEndMarker.LIST, MISTRAL) == ["abc123def"]
        assert ids_of('[TOOL_CALLS]f[CALL_ID]abc123def[ARGS]{"a": "x"}', MISTRAL) == ["abc123def"]

    def test_an_id_that_the_model_repeats_is_replaced(self) -> None:
        first, second = ids_of(self.SECTION.replace("f:1", "f:0"), KIMI_K2)
        assert first == "functions.f:0" and second and second.startswith("call_")


class TestOneCallOnly:
    @pytest.mark.parametrize(
        ("text", "family"),
        [
            (f"hi {CALL}{CALL} bye", QWEN),
            (TestIds.SECTION, KIMI_K2),
            (TestCallsWithoutAnEndMarker.ONE * 2, MISTRAL),
            ('[TOOL_CALLS]f[ARGS]{"a": "x"}f[ARGS]{"a": "y"}', MISTRAL),
        ],
    )
    def test_the_answer_ends_after_the_first_call(self, text: str, family: Family) -> None:
        for pieces in ([text], list(text)):
            content, _, calls, _ = parse(pieces, family, tools=TOOLS, parallel=False)
            assert len(calls) == 1 and content == ("hi" if family is QWEN else "")

    def test_the_answer_ends_at_the_end_marker(self) -> None:
        parser = OutputParser(QWEN, tools=TOOLS, parallel=False)
        assert parser.feed(CALL).ended and not parser.feed(" bye") and not parser.finish()


class TestLimitOfTokens:
    @pytest.mark.parametrize("text", ["hi\n<tool_c", "hi\n<tool_call>", 'hi <tool_call>{"name": "f"'])
    def test_a_call_that_is_cut_before_its_arguments_is_dropped(self, text: str) -> None:
        assert parse([text], cut=True, tools=TOOLS) == ("hi", "", [], None)

    def test_a_call_without_its_end_marker_is_parsed(self) -> None:
        assert parse(["hi " + CALL.removesuffix("</tool_call>")], tools=TOOLS)[2] == [(0, "f", '{"a": "x"}')]


def test_half_a_character_in_a_call_is_replaced() -> None:
    half = r'<tool_call>{"name": "f\ud83d", "arguments": {"a": "\ud83d", "\udc00": ["\ud83d\ude00"]}}</tool_call>'
    for pieces in ([half], list(half)):
        (call,) = parse(pieces, tools=TOOLS)[2]
        assert call[:2] == (0, "f\ufffd") and json.loads(call[2]) == {"a": "\ufffd", "\ufffd": ["😀"]}


@pytest.mark.parametrize("arguments", ["NaN", "1e999", "{1, 2}"])
def test_arguments_that_are_not_json_are_content(arguments: str) -> None:
    text = f"<|tool_call_start|>[f(a={arguments})]<|tool_call_end|>"
    content, _, calls, _ = parse([text], LFM2, tools=TOOLS)
    assert (content, calls) == (text, []) or json.loads(calls[0][2]) == {"a": arguments}


TEXTS = st.lists(
    st.sampled_from(["<think>", "</think>", CALL, "word ", " ", "\n", "<", "<tool", "STOP", "é🙂", "</tool_call>"]),
    max_size=8,
).map("".join)


@settings(deadline=None)
@given(text=TEXTS, data=st.data())
def test_the_pieces_of_a_text_do_not_matter(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=10)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert parse(pieces, tools=TOOLS, stop=["STOP"]) == parse([text], tools=TOOLS, stop=["STOP"])


@settings(deadline=None)
@given(text=st.text(max_size=60))
def test_text_without_markers_is_unchanged(text: str) -> None:
    assert parse(list(text))[0] == (text if "<think>" not in text else parse([text])[0])

"""What the models of each family write, in words of our own, and what a client gets of it, however it is cut."""

import json
import time
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmx_daemon.engines.mlx.text.families.apertus import APERTUS
from lmx_daemon.engines.mlx.text.families.choose import FAMILIES as MARKED
from lmx_daemon.engines.mlx.text.families.command_r import COMMAND_R, COMMAND_R_PLUS
from lmx_daemon.engines.mlx.text.families.deepseek import DEEPSEEK
from lmx_daemon.engines.mlx.text.families.family import Family
from lmx_daemon.engines.mlx.text.families.gemma import FUNCTION_GEMMA, GEMMA4
from lmx_daemon.engines.mlx.text.families.glm import GLM, LONGCAT
from lmx_daemon.engines.mlx.text.families.harmony import HARMONY
from lmx_daemon.engines.mlx.text.families.hermes import HERMES
from lmx_daemon.engines.mlx.text.families.invokes import DEEPSEEK_DSML, MINIMAX_M2
from lmx_daemon.engines.mlx.text.families.json_lists import APRIEL, FIREFUNCTION, GRANITE, NEMOTRON, PHI4, XLAM
from lmx_daemon.engines.mlx.text.families.kimi_k2 import KIMI_K2
from lmx_daemon.engines.mlx.text.families.kimi_k3 import KIMI_K3
from lmx_daemon.engines.mlx.text.families.llama3 import LLAMA3
from lmx_daemon.engines.mlx.text.families.minicpm5 import MINICPM5
from lmx_daemon.engines.mlx.text.families.mistral import MISTRAL
from lmx_daemon.engines.mlx.text.families.muse_spark import MUSE_SPARK
from lmx_daemon.engines.mlx.text.families.named import FUNCTIONARY_31, FUNCTIONARY_32
from lmx_daemon.engines.mlx.text.families.pythonic import LFM2
from lmx_daemon.engines.mlx.text.families.qwen3_coder import QWEN3_CODER, SEED
from lmx_daemon.engines.mlx.text.output_parser import OutputParser

TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "look",
            "parameters": {
                "type": "object",
                "properties": {
                    "word": {"type": "string"},
                    "most": {"type": "integer"},
                    "deep": {"type": ["boolean", "null"]},
                    "among": {"type": "array", "items": {"type": "string"}},
                },
            },
        },
    },
    {"type": "function", "function": {"name": "stop", "parameters": {"type": "object", "properties": {}}}},
]
SEA: dict[str, Any] = {"word": "sea", "most": 2}
THINKING = replace(HERMES, think=("<think>", "</think>"))


@dataclass(frozen=True)
class Case:
    """A text, and what a client gets of it."""

    family: Family
    text: str
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()
    content: str = ""
    reasoning: str = ""
    ids: tuple[str, ...] = ()


ONE = (("look", SEA),)
TWO = (("look", SEA), ("stop", {}))
JSON = '{"word": "sea", "most": 2}'
ENTRY = f'{{"name": "look", "arguments": {JSON}}}'
STOP = '{"name": "stop", "arguments": {}}'
XML = "<function=look>\n<parameter=word>\nsea\n</parameter>\n<parameter=most>\n2\n</parameter>\n</function>"
KEYS = "look\n<arg_key>word</arg_key>\n<arg_value>sea</arg_value>\n<arg_key>most</arg_key>\n<arg_value>2</arg_value>\n"
DS = (
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁call▁begin｜>",
    "<｜tool▁sep｜>",
    "<｜tool▁call▁end｜>",
    "<｜tool▁calls▁end｜>",
)
KIMI = (
    "<|tool_calls_section_begin|><|tool_call_begin|>functions.look:0<|tool_call_argument_begin|>%s<|tool_call_end|>"
    "<|tool_call_begin|>functions.stop:1<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>"
)
CASES: dict[str, Case] = {
    "hermes": Case(HERMES, f"Look.\n<tool_call>\n{ENTRY}\n</tool_call>\n<tool_call>{STOP}</tool_call>", TWO, "Look."),
    "hermes with a bracket too many": Case(HERMES, f"<tool_call>{ENTRY}}}</tool_call>Done.", ONE, "Done."),
    "hermes without its end": Case(HERMES, f"<tool_call>{ENTRY}", ONE),
    "hermes with arguments as text": Case(
        HERMES, f'<tool_call>{{"name": "look", "arguments": {json.dumps(JSON)}}}</tool_call>', ONE
    ),
    "hermes with arguments in front": Case(
        HERMES, f'<tool_call>{{"arguments": {JSON}, "name": "look"}}</tool_call>', ONE
    ),
    "hermes with a marker in an argument": Case(
        HERMES,
        '<tool_call>{"name": "look", "arguments": {"word": "</tool_call>"}}</tool_call>',
        (("look", {"word": "</tool_call>"}),),
    ),
    "a call inside thinking": Case(
        THINKING, f"<think>I look.<tool_call>{ENTRY}</tool_call></think>Done.", ONE, "Done.", "I look."
    ),
    "qwen3 coder": Case(QWEN3_CODER, f"Look.\n<tool_call>\n{XML}\n</tool_call>", ONE, "Look."),
    "qwen3 coder without an envelope": Case(QWEN3_CODER, f"Look.\n{XML}\n</tool_call>", ONE, "Look."),
    "qwen3 coder with a marker in a value": Case(
        QWEN3_CODER,
        "<tool_call><function=look><parameter=word>a </parameter> b</parameter></function></tool_call>",
        (("look", {"word": "a </parameter> b"}),),
    ),
    "qwen3 coder with other types": Case(
        QWEN3_CODER,
        "<function=look>\n<parameter=deep>\nTrue\n</parameter>\n"
        "<parameter=among>\n['a', \"b\"]\n</parameter></function>",
        (("look", {"deep": True, "among": ["a", "b"]}),),
    ),
    "seed": Case(SEED, f"<seed:think>Hm.</seed:think><seed:tool_call>\n{XML}\n</seed:tool_call>", ONE, "", "Hm."),
    "glm": Case(GLM, f"<think>Hm.</think>\n<tool_call>{KEYS}</tool_call><tool_call>stop</tool_call>", TWO, "", "Hm."),
    "longcat": Case(
        LONGCAT,
        "<longcat_tool_call>look\n<longcat_arg_key>word</longcat_arg_key>\n<longcat_arg_value>sea</longcat_arg_value>\n"
        "</longcat_tool_call>",
        (("look", {"word": "sea"}),),
    ),
    "minimax": Case(
        MINIMAX_M2,
        '<minimax:tool_call>\n<invoke name="look">\n<parameter name="word">sea</parameter>\n'
        '<parameter name="most">2</parameter>\n</invoke>\n<invoke name="stop">\n</invoke>\n</minimax:tool_call>',
        TWO,
    ),
    "deepseek v3.2": Case(
        DEEPSEEK_DSML,
        'I look.\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke name="look">\n'
        '<｜DSML｜parameter name="word" string="true">sea'
        '</｜DSML｜parameter>\n<｜DSML｜parameter name="most" string="false">2</｜DSML｜parameter>\n</｜DSML｜invoke>\n'
        "</｜DSML｜function_calls>",
        ONE,
        "I look.",
    ),
    "deepseek v3": Case(
        DEEPSEEK,
        f"{DS[0]}{DS[1]}function{DS[2]}look\n```json\n{JSON}\n```{DS[3]}\n{DS[1]}function{DS[2]}stop\n```json\n{{}}\n```"
        f"{DS[3]}{DS[4]}",
        TWO,
    ),
    "deepseek v3.1": Case(DEEPSEEK, f"Look.{DS[0]}{DS[1]}look{DS[2]}{JSON}{DS[3]}{DS[4]}", ONE, "Look."),
    "kimi k2": Case(KIMI_K2, KIMI % JSON, TWO, ids=("functions.look:0", "functions.stop:1")),
    "kimi k3": Case(
        KIMI_K3,
        "<|open|>response<|sep|>Look.<|close|>response<|sep|><|open|>tools<|sep|>"
        '<|open|>call tool="look" index="1"<|sep|><|open|>argument key="word" type="string"<|sep|>sea'
        '<|close|>argument<|sep|><|open|>argument key="most" type="integer"<|sep|>2<|close|>argument<|sep|>'
        "<|close|>call<|sep|><|close|>tools<|sep|>",
        ONE,
        "Look.",
    ),
    "mistral": Case(MISTRAL, f"Look.[TOOL_CALLS]look[ARGS]{JSON}[TOOL_CALLS]stop[ARGS]{{}}", TWO, "Look."),
    "mistral with a list": Case(
        MISTRAL, f'[TOOL_CALLS][{{"name": "look", "arguments": {JSON}, "id": "abcDEF123"}}]', ONE, ids=("abcDEF123",)
    ),
    "mistral with ids": Case(MISTRAL, f"[TOOL_CALLS]look[CALL_ID]abcDEF123[ARGS]{JSON}", ONE, ids=("abcDEF123",)),
    "llama 3": Case(LLAMA3, f'{{"name": "look", "parameters": {JSON}}}', ONE),
    "llama 3 with a tag": Case(LLAMA3, f'<|python_tag|>{{"name": "look", "parameters": {JSON}}}; {STOP}', TWO),
    "llama 3 in python": Case(LLAMA3, '[look(word="sea", most=2), stop()]', TWO),
    "llama 3 with a function": Case(LLAMA3, f"<function=look>{JSON}</function>", ONE),
    "llama 3 with other json": Case(LLAMA3, '{"city": "Oslo"} is it.', (), '{"city": "Oslo"} is it.'),
    "llama 3 with a link": Case(LLAMA3, "[a](b) and [c]", (), "[a](b) and [c]"),
    "functionary 3.1": Case(FUNCTIONARY_31, f"<function=look>{JSON}</function><function=stop>{{}}</function>", TWO),
    "functionary 3.2": Case(FUNCTIONARY_32, f"all\nLook.\n>>>look\n{JSON}>>>stop\n{{}}", TWO, "Look."),
    "granite": Case(GRANITE, f"<|tool_call|>[{ENTRY}, {STOP}]", TWO),
    "phi 4": Case(PHI4, f"<|tool_call|>[{ENTRY}]<|/tool_call|>", ONE),
    "nemotron": Case(NEMOTRON, f"Look.<TOOLCALL>[{ENTRY}]</TOOLCALL>", ONE, "Look."),
    "apriel": Case(APRIEL, f'Look.\n<tool_calls>[{ENTRY[:-1]}, "id": "x"}}]</tool_calls>', ONE, "Look."),
    "firefunction": Case(FIREFUNCTION, f" functools[{ENTRY}, {STOP}]", TWO),
    "xlam": Case(XLAM, f"[{ENTRY}, {STOP}]", TWO),
    "xlam in a fence": Case(XLAM, f"Look.\n```json\n[{ENTRY}]\n```", ONE, "Look."),
    "command r": Case(
        COMMAND_R,
        '<|START_THINKING|>Hm.<|END_THINKING|><|START_ACTION|>[\n'
        '{"tool_call_id": "0", "tool_name": "look", "parameters":'
        f" {JSON}}}\n]<|END_ACTION|>",
        ONE,
        "",
        "Hm.",
        ("0",),
    ),
    "command r answers": Case(COMMAND_R, "<|START_RESPONSE|>Done.<|END_RESPONSE|>", (), "Done."),
    "command r plus": Case(
        COMMAND_R_PLUS, f'Action: ```json\n[\n{{"tool_name": "look",\n"parameters": {JSON}}}\n]```', ONE
    ),
    "apertus": Case(
        APERTUS,
        f'<|inner_prefix|>Hm.<|inner_suffix|><|tools_prefix|>[{{"look": {JSON}}}, {{"stop": {{}}}}]<|tools_suffix|>',
        TWO,
        "",
        "Hm.",
    ),
    "harmony": Case(
        HARMONY,
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary<|message|>I look.<|end|>"
        f"<|start|>assistant<|channel|>commentary to=functions.look <|constrain|>json<|message|>{JSON}<|call|>",
        ONE,
        "I look.",
        "Hm.",
    ),
    "harmony with the recipient in front": Case(
        HARMONY,
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant to=functions.look<|channel|>commentary json"
        f"<|message|>{JSON}",
        ONE,
        "",
        "Hm.",
    ),
    "harmony with the recipient first": Case(
        HARMONY,
        f" to=functions.look<|channel|>commentary json<|message|>{JSON}<|call|>",
        ONE,
    ),
    "harmony answers": Case(
        HARMONY,
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Done.",
        (),
        "Done.",
        "Hm.",
    ),
    "harmony without a header": Case(HARMONY, "Done.", (), "Done."),
    "lfm2": Case(LFM2, "<|tool_call_start|>[look(word='sea', most=2), stop()]<|tool_call_end|>Done.", TWO, "Done."),
    "gemma 4": Case(GEMMA4, '<|tool_call>call:look{word:<|"|>sea<|"|>,most:2}<tool_call|>', ONE),
    "function gemma": Case(
        FUNCTION_GEMMA, "<start_function_call>call:look{word:<escape>sea<escape>,most:2}<end_function_call>", ONE
    ),
    "minicpm": Case(
        MINICPM5,
        '<function name="look"><param name="word"><![CDATA[sea]]></param><param name="most">2</param></function>',
        ONE,
    ),
    "muse": Case(
        MUSE_SPARK,
        ' to=self<|message|>Hm.<|eom|><|start|>assistant to=look<|message|>'
        '<atem:function_calls><atem:invoke name="look">'
        '<atem:parameter name="word">sea</atem:parameter><atem:parameter name="most">2</atem:parameter></atem:invoke>'
        "</atem:function_calls><|eom|>",
        ONE,
        "",
        "Hm.",
    ),
}  # fmt: skip

Result = tuple[str, str, list[tuple[str, str]], list[str], bool]


def parsed(family: Family, pieces: list[str], **options: Any) -> Result:
    """Return content, reasoning, calls, ids, and whether there was a warning."""
    cut = options.pop("cut", False)
    parser = OutputParser(family, tools=options.pop("tools", TOOLS), **options)
    found = [*map(parser.feed, pieces), parser.finish(cut)]
    calls: list[tuple[str, str]] = []
    ids: list[str] = []
    for call in (call for piece in found for call in piece.calls):
        if call.name is not None:
            calls.append((call.name, ""))
            ids.append(str(call.id))
        assert call.index == len(calls) - 1
        calls[-1] = (calls[-1][0], calls[-1][1] + call.arguments)
    content, reasoning = ("".join(getattr(piece, name) for piece in found) for name in ("content", "reasoning"))
    return content, reasoning, calls, ids, any(piece.warning for piece in found)


def without_ids(result: Result) -> Any:
    return result[:3], len(result[3]), result[4]


@pytest.mark.parametrize("name", CASES)
def test_what_a_family_writes_becomes_calls_content_and_reasoning(name: str) -> None:
    case = CASES[name]
    content, reasoning, calls, ids, warned = parsed(case.family, [case.text])
    assert [(called, json.loads(given)) for called, given in calls] == list(case.calls)
    assert (content, reasoning, warned) == (case.content, case.reasoning, False)
    assert case.ids in ((), tuple(ids)) and len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", CASES)
def test_a_text_cut_at_any_place_is_read_alike(name: str) -> None:
    case = CASES[name]
    whole = without_ids(parsed(case.family, [case.text]))
    assert without_ids(parsed(case.family, list(case.text))) == whole
    for place in range(len(case.text)):
        assert without_ids(parsed(case.family, [case.text[:place], case.text[place:]])) == whole


@pytest.mark.parametrize("name", CASES)
def test_the_arguments_of_calls_as_json_arrive_while_they_are_written(name: str) -> None:
    case = CASES[name]
    if JSON not in case.text or name in ("mistral with a list", "command r plus", "hermes with arguments in front"):
        return
    parser = OutputParser(case.family, tools=TOOLS)
    place = case.text.index(JSON) + 10
    given = "".join(call.arguments for call in parser.feed(case.text[:place]).calls)
    assert given == JSON[:10]


FRAGMENTS = sorted(
    {
        fragment
        for case in CASES.values()
        for envelope in (*case.family.envelopes, *(case.family.think or ()))
        for fragment in ((envelope,) if isinstance(envelope, str) else (envelope.start, envelope.end))
        if fragment
    }
    | {JSON, ENTRY, "{", "}", "[", "]", '"', "\\", "\\ud83d", "look", "stop", "\n", " "}
    | {">", "<", "name", ":", ",", "(", ")"}
    | {"<function=look>", "<parameter=word>", "</parameter>", "</function>", "<arg_key>"}
    | {'<invoke name="look">', "</invoke>"}
)  # fmt: skip
FAMILIES = {family.name: family for family in [*MARKED, XLAM]}


@settings(max_examples=60, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("family", FAMILIES)
def test_any_text_cut_anywhere_is_read_alike_by_every_family(family: str, data: st.DataObject) -> None:
    start = st.sampled_from([e.start for e in FAMILIES[family].envelopes])
    pieces = data.draw(st.lists(st.one_of(st.sampled_from(FRAGMENTS), start), max_size=12))
    text = "".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    parts = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    for cut in (False, True):
        whole = without_ids(parsed(FAMILIES[family], [text], cut=cut))
        assert without_ids(parsed(FAMILIES[family], parts, cut=cut)) == whole, parts
        assert without_ids(parsed(FAMILIES[family], list(text), cut=cut)) == whole


def test_a_cut_beginning_of_a_marker_behind_a_text_without_a_header_is_no_text() -> None:
    for text in ("I look.\n<atem:", "I look.<atem:functi"):
        assert parsed(FAMILIES["muse_spark"], [text], cut=True)[0] == "I look."


@pytest.mark.parametrize("family", FAMILIES)
def test_a_hostile_text_takes_linear_time(family: str) -> None:
    known = FAMILIES[family]
    units = ["{", '{"name": "', "[[", "\\", " ", "a", '"', "f(a=", "<arg_key>", '<parameter name="'] + [
        f"{envelope.start}x" for envelope in known.envelopes
    ]
    for start in ("", *(envelope.start for envelope in known.envelopes)):
        for unit in units:
            assert any(takes_linear_time(known, start, unit) for _ in range(4)), (start, unit)


def takes_linear_time(family: Family, start: str, unit: str) -> bool:
    """Return whether four times the text costs far less than sixteen times the seconds of this thread."""
    seconds = []
    for size in (25_000, 100_000):
        begun = time.thread_time()
        parsed(family, [start + unit * (size // len(unit))])
        seconds.append(time.thread_time() - begun)
    return seconds[1] < 8 * seconds[0] + 0.05


@pytest.mark.parametrize("broken", ["no json", '{"no": "name"}', '{"name": "look", "argum', "<function=", "{{"])
def test_a_malformed_call_is_text_with_a_warning(broken: str) -> None:
    text = f"Look. <tool_call>{broken}</tool_call> Done."
    assert parsed(HERMES, [text]) == (text, "", [], [], True)


def test_an_answer_without_tools_has_no_calls() -> None:
    assert parsed(HERMES, [f"<tool_call>{ENTRY}</tool_call>"], tools=[])[0] == f"<tool_call>{ENTRY}</tool_call>"

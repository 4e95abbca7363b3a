"""Model families whose tool calls are parsed, as scripted models.

`FAMILIES` has an entry for each parser, and for each form of a parser with several forms. A case is a text in the
family's format and the expected answer.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.models import TEMPLATE
from tests.scripted import Decoder, build_scripted

TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Get the weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "filter": {"type": "object"}},
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "add",
            "description": "Add to n",
            "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}},
        },
    },
]
Wanted = tuple[str, dict[str, Any]]
"""Name and arguments of a call."""
PARIS: Wanted = ("get_weather", {"city": "Paris"})
ADD: Wanted = ("add", {"n": 2})
NESTED: Wanted = ("get_weather", {"city": "Oslo", "filter": {"days": [1, 2, {"deep": True}], "unit": "°C"}})
UNICODE: Wanted = ("get_weather", {"city": "Zürich 日本語 🙂"})
QUOTES: Wanted = ("get_weather", {"city": 'He said "hi",\nand it\'s {x: 1} \\ done'})


@dataclass(frozen=True)
class Case:
    """Text of a model, and the expected content, reasoning and calls."""

    text: str
    content: str = ""
    reasoning: str = ""
    calls: Sequence[Wanted] = ()


@dataclass(frozen=True)
class Family:
    """Output format of a family."""

    name: str
    """Module of mlx_lm.tool_parsers, or of OWN_FAMILIES."""
    write: Callable[[Sequence[Wanted]], str]
    """Function that returns the text of calls in the family's format."""
    mark: str = ""
    """Part of the chat template from which mlx-lm infers the parser."""
    special: Sequence[str] = ()
    think: tuple[str, str] | None = None
    decoder: Decoder = "byte"
    settings: dict[str, Any] = field(default_factory=dict)
    """Further fields of tokenizer_config.json."""
    content: Callable[[str], str] = str
    """Function that returns content in the family's format."""
    form: str = ""
    """Suffix of the label of a family with several formats."""

    @property
    def label(self) -> str:
        return self.name + self.form

    def cases(self) -> dict[str, Case]:
        """Return the cases, keyed by the word in the prompt that selects them."""
        say = self.content
        found = {
            "caseone": Case(self.write([PARIS]), calls=[PARIS]),
            "casetwo": Case(self.write([PARIS, ADD]), calls=[PARIS, ADD]),
            "casebefore": Case(say("I look.") + "\n" + self.write([ADD]), "I look.", calls=[ADD]),
            "casenested": Case(self.write([NESTED]), calls=[NESTED]),
            "caseunicode": Case(self.write([UNICODE]), calls=[UNICODE]),
            "casequotes": Case(self.write([QUOTES]), calls=[QUOTES]),
            "casenone": Case(say("No call."), "No call."),
        }
        around = say("Before.") + "\n" + self.write([PARIS, ADD]) + "\n" + say("After.")
        found["casearound"] = Case(around, "Before.\nAfter.", calls=[PARIS, ADD])
        if self.think:
            thought = f"{self.think[0]}\nI think 日本.\n{self.think[1]}\n\n"
            found["casethink"] = Case(thought + self.write([PARIS]), "", "I think 日本.", [PARIS])
            both = thought + say("I look.") + "\n" + self.write([PARIS])
            found["casesay"] = Case(both, "I look.", "I think 日本.", [PARIS])
        return found

    def build(self, folder: Path) -> Path:
        """Write a scripted model of the family to `folder`. The key of a case in the prompt selects its text."""
        template = TEMPLATE + "{#- " + self.mark + " -#}" if self.mark else TEMPLATE
        scripts = {name: case.text for name, case in self.cases().items()}
        special = [*self.special, *(token for token in self.think or () if token.count("|") < 3)]
        return build_scripted(
            folder, scripts, decoder=self.decoder, special=special, template=template, settings=self.settings
        )


def _compact(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _json_tools(calls: Sequence[Wanted]) -> str:
    entries = (json.dumps({"name": name, "arguments": given}, ensure_ascii=False) for name, given in calls)
    return "\n".join(f"<tool_call>\n{entry}\n</tool_call>" for entry in entries)


def _qwen3_coder(calls: Sequence[Wanted]) -> str:
    def one(name: str, given: dict[str, Any]) -> str:
        inner = "".join(f"<parameter={key}>\n{_compact(value)}\n</parameter>\n" for key, value in given.items())
        return f"<tool_call>\n<function={name}>\n{inner}</function>\n</tool_call>"

    return "\n".join(one(*call) for call in calls)


def _seed_oss(calls: Sequence[Wanted]) -> str:
    def one(name: str, given: dict[str, Any]) -> str:
        inner = "".join(f"<parameter={key}>{_compact(value)}</parameter>\n" for key, value in given.items())
        return f"<seed:tool_call>\n<function={name}>\n{inner}</function>\n</seed:tool_call>"

    return "\n".join(one(*call) for call in calls)


def _keys_and_values(prefix: str) -> Callable[[Sequence[Wanted]], str]:
    def one(name: str, given: dict[str, Any]) -> str:
        key, value = f"{prefix}arg_key", f"{prefix}arg_value"
        inner = "".join(f"<{key}>{k}</{key}>\n<{value}>{_compact(v)}</{value}>\n" for k, v in given.items())
        return f"<{prefix}tool_call>{name}\n{inner}</{prefix}tool_call>"

    return lambda calls: "\n".join(one(*call) for call in calls)


def _invokes(outer: str, prefix: str) -> Callable[[Sequence[Wanted]], str]:
    def one(name: str, given: dict[str, Any]) -> str:
        tag = f"{prefix}parameter"
        inner = "".join(f'<{tag} name="{key}">{_compact(value)}</{tag}>\n' for key, value in given.items())
        return f'<{prefix}invoke name="{name}">\n{inner}</{prefix}invoke>\n'

    return lambda calls: f"<{outer}>\n" + "".join(one(*call) for call in calls) + f"</{outer}>"


def _minicpm5(calls: Sequence[Wanted]) -> str:
    def text(value: Any) -> str:
        found = _compact(value)
        return f"<![CDATA[{found}]]>" if any(character in found for character in "<&\n") else found

    def one(name: str, given: dict[str, Any]) -> str:
        inner = "".join(f'<param name="{key}">{text(value)}</param>' for key, value in given.items())
        return f'<function name="{name}">{inner}</function>'

    return "".join(one(*call) for call in calls)


def _kimi_k2(calls: Sequence[Wanted]) -> str:
    inner = "".join(
        f"<|tool_call_begin|>functions.{name}:{index}<|tool_call_argument_begin|>{_compact(given)}<|tool_call_end|>"
        for index, (name, given) in enumerate(calls)
    )
    return f"<|tool_calls_section_begin|>{inner}<|tool_calls_section_end|>"


def _kimi_k3(calls: Sequence[Wanted]) -> str:
    def one(index: int, name: str, given: dict[str, Any]) -> str:
        inner = "".join(
            f'<|open|>argument key="{key}" type="{"string" if isinstance(value, str) else "object"}"<|sep|>'
            f"{_compact(value)}<|close|>argument<|sep|>"
            for key, value in given.items()
        )
        return f'<|open|>call tool="{name}" index="{index}"<|sep|>{inner}<|close|>call<|sep|>'

    inner = "".join(one(index, *call) for index, call in enumerate(calls, 1))
    return f"<|open|>tools<|sep|>{inner}<|close|>tools<|sep|>"


def _mistral_list(calls: Sequence[Wanted]) -> str:
    entries = [{"name": name, "arguments": given} for name, given in calls]
    return "[TOOL_CALLS]" + json.dumps(entries, ensure_ascii=False)


def _mistral(calls: Sequence[Wanted]) -> str:
    return "".join(f"[TOOL_CALLS]{name}[ARGS]{_compact(given)}" for name, given in calls)


def _mistral_ids(calls: Sequence[Wanted]) -> str:
    return "".join(
        f"[TOOL_CALLS]{name}[CALL_ID]{index:09}[ARGS]{_compact(given)}" for index, (name, given) in enumerate(calls)
    )


def _pythonic(calls: Sequence[Wanted]) -> str:
    def one(name: str, given: dict[str, Any]) -> str:
        return f"{name}({', '.join(f'{key}={value!r}' for key, value in given.items())})"

    return f"<|tool_call_start|>[{', '.join(one(*call) for call in calls)}]<|tool_call_end|>"


def _gemma(quote: str, start: str, end: str) -> Callable[[Sequence[Wanted]], str]:
    def value(given: Any) -> str:
        match given:
            case str():
                return f"{quote}{given}{quote}"
            case dict():
                return "{" + ",".join(f"{key}:{value(inner)}" for key, inner in given.items()) + "}"
            case list():
                return "[" + ",".join(map(value, given)) + "]"
        return json.dumps(given)

    return lambda calls: "".join(f"{start}call:{name}{value(given)}{end}" for name, given in calls)


THINK = ("<think>", "</think>")
CALL_MARKERS = ("<tool_call>", "</tool_call>")
XTML = ("<|open|>", "<|close|>", "<|sep|>", "<|end_of_msg|>")
KIMI = tuple(
    f"<|tool_{name}|>"
    for name in ("calls_section_begin", "calls_section_end", "call_begin", "call_end", "call_argument_begin")
)

FAMILIES = [
    Family("json_tools", _json_tools, "<tool_call> tool_call.name", CALL_MARKERS, THINK),
    Family("json_tools", _json_tools, "<tool_call> tool_call.name", decoder="metaspace-stripped", form="-pieces"),
    Family("qwen3_coder", _qwen3_coder, "<tool_call>\n<function=", CALL_MARKERS, THINK),
    Family("seed_oss", _seed_oss, "<seed:tool_call>", ("<seed:tool_call>", "</seed:tool_call>")),
    Family("glm47", _keys_and_values(""), "<arg_key>", CALL_MARKERS, THINK),
    Family("laguna", _keys_and_values(""), "", CALL_MARKERS, settings={"tool_parser_type": "laguna"}),
    Family(
        "longcat", _keys_and_values("longcat_"), "<longcat_tool_call>", think=("<longcat_think>", "</longcat_think>")
    ),
    Family("minimax_m2", _invokes("minimax:tool_call", ""), "<minimax:tool_call>", think=THINK),
    Family("minicpm5", _minicpm5, '<function name=" <param name="', think=THINK),
    Family("kimi_k2", _kimi_k2, "<|tool_calls_section_begin|>", KIMI, THINK),
    Family(
        "kimi_k3",
        lambda calls: _kimi_k3(calls),
        special=XTML,
        think=("<|open|>think<|sep|>", "<|close|>think<|sep|>"),
        content=lambda text: f"<|open|>response<|sep|>{text}<|close|>response<|sep|>",
    ),
    Family("mistral", _mistral_list, "[TOOL_CALLS]", ("[TOOL_CALLS]",), form="-list"),
    Family("mistral", _mistral, "[TOOL_CALLS]", ("[TOOL_CALLS]", "[ARGS]"), decoder="metaspace-stripped"),
    Family("mistral", _mistral_ids, "[TOOL_CALLS]", ("[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"), form="-ids"),
    Family("muse_spark", _invokes("atem:function_calls", "atem:"), "<atem:function_calls>"),
    Family("pythonic", _pythonic, "<|tool_list_start|>", ("<|tool_call_start|>", "<|tool_call_end|>"), THINK),
    Family(
        "gemma4",
        _gemma('<|"|>', "<|tool_call>", "<tool_call|>"),
        "<|tool_call> <tool_call|>",
        ("<|tool_call>", "<tool_call|>", '<|"|>', "<|channel>", "<channel|>"),
        ("<|channel>thought", "<channel|>"),
        decoder="metaspace",
    ),
    Family(
        "function_gemma",
        _gemma("<escape>", "<start_function_call>", "<end_function_call>"),
        "<start_function_call>",
        ("<start_function_call>", "<end_function_call>", "<escape>"),
        decoder="metaspace",
    ),
]

"""Messages of a request to messages that a template accepts: what is kept in place, marked, merged or split."""

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmx_daemon.contract.errors import RequestError
from lmx_daemon.contract.generation.attribution import without_attribution
from lmx_daemon.contract.generation.requests import Message, TextPart, Tool, ToolCall
from lmx_daemon.engines.mlx.text.prompts.conversation import adapted, short_id
from lmx_daemon.engines.mlx.text.prompts.templates.template_manners import CallForm

TOOL = Tool(name="look_up", description="Looks up", parameters={"type": "object"})


ANY_FORM = CallForm("any", "object", "")


@dataclasses.dataclass(frozen=True)
class Manners:
    """A template that accepts everything but what a test takes away."""

    system: bool = True
    several_systems: bool = True
    system_within: bool = True
    repeated_users: bool = True
    repeated_assistants: bool = True
    assistant_first: bool = True
    declares_tools: bool = True
    results: bool = True
    parallel_calls: bool = True
    user_after_tool: bool = True
    orphaned_results: bool = True
    call_form: CallForm | None = ANY_FORM


GEMMA = Manners(
    system=False,
    several_systems=False,
    system_within=False,
    repeated_users=False,
    repeated_assistants=False,
    assistant_first=False,
    declares_tools=False,
    results=False,
    call_form=None,
)


def said(role: Any, text: str = "", **more: Any) -> Message:
    return Message(role=role, content=(TextPart(text=text),) if text else (), **more)


def called(*names: str, text: str = "") -> Message:
    calls = tuple(ToolCall(id=f"call_{name}", name=name, arguments='{"a": 1}') for name in names)
    return said("assistant", text, tool_calls=calls)


def result(name: str) -> Message:
    return said("tool", f"result of {name}", tool_call_id=f"call_{name}")


def shown(messages: list[Message], manners: Any = GEMMA, tools: tuple[Tool, ...] = ()) -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in adapted(messages, tools, manners)]


TURNS = [said("user", "one"), said("assistant", "two"), said("system", "rule"), said("user", "three")]


class TestSystemMessages:
    def test_they_stay_where_they_are_if_the_template_renders_them_there(self) -> None:
        assert [role for role, _ in shown(TURNS, Manners())] == ["user", "assistant", "system", "user"]

    def test_one_that_the_template_refuses_becomes_a_marked_note_at_its_place(self) -> None:
        kept = shown(TURNS, Manners(system_within=False))
        assert kept[2] == ("user", "[system message]\nrule\n[end of system message]")
        assert kept[3] == ("user", "three")

    def test_a_note_is_merged_with_the_users_turn_if_turns_have_to_alternate(self) -> None:
        kept = shown(TURNS)
        assert [role for role, _ in kept] == ["user", "assistant", "user"]
        assert kept[2][1] == "[system message]\nrule\n[end of system message]\n\nthree"

    def test_several_at_the_beginning_become_one_if_the_template_has_one(self) -> None:
        messages = [said("system", "a"), said("system", "b"), said("user", "one")]
        assert shown(messages, Manners(several_systems=False)) == [("system", "a\n\nb"), ("user", "one")]
        assert shown(messages, Manners()) == [("system", "a"), ("system", "b"), ("user", "one")]

    def test_the_first_one_precedes_the_users_text_if_the_template_has_no_such_role(self) -> None:
        assert shown([said("system", "a"), said("user", "one")]) == [("user", "a\n\none")]
        assert shown([said("system", "a")]) == [("user", "a")]

    def test_the_beginning_of_a_conversation_does_not_depend_on_later_messages(self) -> None:
        for manners in (GEMMA, Manners(), Manners(system_within=False)):
            longer = [*TURNS, said("assistant", "four"), said("system", "late"), said("user", "five")]
            before, after = shown(TURNS, manners), shown(longer, manners)
            assert after[: len(before)] == before

    def test_empty_ones_are_dropped(self) -> None:
        assert shown([said("system"), said("user", "one")], Manners()) == [("user", "one")]
        with pytest.raises(RequestError):
            adapted([said("system", " ")], (), Manners())


class TestAttribution:
    LINE = "x-anthropic-billing-header: cc_version=2.1; cc_entrypoint=cli; cch=abc12;"

    def test_the_line_of_an_agent_is_removed_from_the_beginning(self) -> None:
        assert without_attribution(f"{self.LINE}\nYou code.") == "You code."
        assert without_attribution(f"{self.LINE}\n{self.LINE}\n\nYou code.") == "You code."
        assert without_attribution(self.LINE) == ""

    def test_other_text_is_unchanged(self) -> None:
        for text in ("", "You code.", f"Explain:\n{self.LINE}\nThanks.", "\n\nYou code."):
            assert without_attribution(text) == text

    def test_prompts_do_not_contain_it(self) -> None:
        messages = [said("system", self.LINE), said("system", "You code."), said("user", self.LINE)]
        assert shown(messages, Manners()) == [("system", "You code."), ("user", self.LINE)]


class TestCalls:
    TALK = [said("user", "one"), called("a", "b", text="Look."), result("a"), result("b"), said("user", "two")]

    def test_they_are_unchanged_if_the_template_renders_them(self) -> None:
        kept = adapted(self.TALK, (TOOL,), Manners())
        assert [message.role for message in kept] == ["user", "assistant", "tool", "tool", "user"]

    def test_results_get_the_name_of_the_function(self) -> None:
        assert [message.name for message in adapted(self.TALK, (), Manners())] == [None, None, "a", "b", None]

    def test_several_calls_are_written_one_at_a_time_if_the_template_takes_one(self) -> None:
        kept = adapted(self.TALK, (), Manners(parallel_calls=False))
        assert [message.role for message in kept] == ["user", "assistant", "tool", "assistant", "tool", "user"]
        assert [[call.name for call in message.tool_calls] for message in kept] == [[], ["a"], [], ["b"], [], []]
        assert [message.text for message in kept if message.role == "assistant"] == ["Look.", ""]

    def test_calls_and_results_are_text_for_a_template_without_tools(self) -> None:
        kept = shown(self.TALK)
        assert [role for role, _ in kept] == ["user", "assistant", "user"]
        assert kept[1][1].startswith('Look.\n<tool_call>\n{"name": "a", "arguments": {"a": 1}}\n</tool_call>')
        assert kept[2][1].startswith("[result of a]\nresult of a\n[end of result of a]\n\n[result of b]")
        assert kept[2][1].endswith("\n\ntwo")

    def test_tools_are_described_for_a_template_without_tools(self) -> None:
        (first,) = shown([said("user", "one")], GEMMA, (TOOL,))
        assert first[0] == "user" and first[1].endswith("\n\none")
        entry = first[1].splitlines()[-3]
        assert json.loads(entry) == {"name": "look_up", "description": "Looks up", "parameters": {"type": "object"}}

    def test_a_user_message_behind_a_result_is_added_to_it_if_the_template_refuses_it(self) -> None:
        manners = Manners(user_after_tool=False, system_within=False)
        kept = adapted([*self.TALK, said("system", "rule")], (), manners)
        assert [message.role for message in kept] == ["user", "assistant", "tool", "tool"]
        assert kept[-1].text == (
            "result of b\n\n[user message]\ntwo\n[end of user message]"
            "\n\n[system message]\nrule\n[end of system message]"
        )

    def test_a_result_without_a_call_becomes_a_note_if_the_template_refuses_it(self) -> None:
        kept = shown([said("user", "one"), result("x")], Manners(orphaned_results=False))
        assert kept[1] == ("user", "[result of the call]\nresult of x\n[end of result of the call]")

    def test_ids_are_shortened_in_calls_and_results_alike(self) -> None:
        kept = adapted(self.TALK, (), Manners(call_form=CallForm("short", "object", "")))
        ids = [call.id for call in kept[1].tool_calls]
        assert ids == [kept[2].tool_call_id, kept[3].tool_call_id] and all(len(identity) == 9 for identity in ids)
        assert short_id("abcDEF123") == "abcDEF123"


def test_a_conversation_that_begins_with_the_assistant_gets_a_users_turn() -> None:
    assert shown([said("assistant", "Hello."), said("user", "one")])[0] == ("user", "[no message]")


MESSAGES = st.lists(
    st.sampled_from(
        [
            said("system", "rule"),
            said("user", "question"),
            said("assistant", "answer"),
            called("a"),
            called("a", "b", text="Look."),
            result("a"),
            result("b"),
        ]
    ),
    min_size=1,
    max_size=8,
)


@given(messages=MESSAGES, tools=st.sampled_from([(), (TOOL,)]))
def test_turns_alternate_for_a_strict_template_and_no_text_is_lost(messages: list[Message], tools: Any) -> None:
    kept = adapted(messages, tools, GEMMA)
    roles = [message.role for message in kept]
    assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"] * (len(roles) % 2)
    text = "".join(message.text for message in kept)
    assert all(message.text in text for message in messages)

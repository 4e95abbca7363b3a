"""What a chat template accepts, found out by rendering short conversations of marked words.

Templates differ in the roles they accept, in the order of turns, and in what they drop in silence. Each property
renders its conversation when it is first read, so that a plain conversation renders nothing in addition. Which messages
are changed for it is conversation.py's.
"""

import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from lmx_daemon.contract.errors import RequestError

Render = Callable[[list[dict[str, Any]], list[dict[str, Any]] | None], str]
"""Renders messages and tools without a generation prompt. Raises RequestError if the template refuses."""
NAME, TOLD = "zq_look", "Zqtold"
"""Name and description of the probe's tool."""
BARE = {"type": "object", "properties": {"zq": {"type": "string"}}}
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": NAME,
            "description": TOLD,
            "parameters": {"type": "object", "properties": {"zq": {"type": "string", "description": "A word."}}},
        },
    }
]
LONG_IDS, SHORT_IDS = ("call_zq00000001", "call_zq00000002"), ("zq0000001", "zq0000002")
PYTHON = "{'zq': 'Zq"
"""Beginning of an argument object that a template has printed as Python, not as JSON."""


RESULT = {"role": "tool", "content": "Zqresult", "tool_call_id": SHORT_IDS[0], "name": NAME}


def turn(role: str, word: str, **more: Any) -> dict[str, Any]:
    """Return a message of the probe."""
    return {"role": role, "content": word, **more}


@dataclass(frozen=True)
class CallForm:
    """Content of messages with calls in the form that a template renders."""

    ids: Literal["any", "short"]
    """Ids of any form, or of nine letters and digits, as Mistral's are."""
    arguments: Literal["object", "text"]
    """Arguments as an object, or as JSON text."""
    content: Literal[""] | None
    """Value of a content that is empty."""


class TemplateManners:
    """Answers about one template. Owned by the prompt thread; a probe that fails for lack of a child is repeated."""

    def __init__(self, render: Render) -> None:
        self._render = render

    @functools.cached_property
    def system(self) -> bool:
        """Return whether a system message at the beginning is rendered."""
        return self._keeps([turn("system", "Zqone"), turn("user", "Zqtwo")])

    @functools.cached_property
    def several_systems(self) -> bool:
        """Return whether several system messages at the beginning are rendered, in order."""
        return self._keeps([turn("system", "Zqone"), turn("system", "Zqtwo"), turn("user", "Zqthree")])

    @functools.cached_property
    def system_within(self) -> bool:
        """Return whether system messages between and after the turns are rendered where they stand."""
        turns = [turn("user", "Zqone"), turn("assistant", "Zqtwo"), turn("system", "Zqthree"), turn("user", "Zqfour")]
        return self._keeps(turns) and self._keeps([*turns, turn("system", "Zqfive")])

    @functools.cached_property
    def repeated_users(self) -> bool:
        """Return whether user messages may follow each other."""
        return self._keeps([turn("user", "Zqone"), turn("user", "Zqtwo")])

    @functools.cached_property
    def repeated_assistants(self) -> bool:
        """Return whether assistant messages may follow each other."""
        turns = [
            turn("user", "Zqone"),
            turn("assistant", "Zqtwo"),
            turn("assistant", "Zqthree"),
            turn("user", "Zqfour"),
        ]
        return self._keeps(turns)

    @functools.cached_property
    def assistant_first(self) -> bool:
        """Return whether a conversation may begin with an assistant message."""
        return self._keeps([turn("assistant", "Zqone"), turn("user", "Zqtwo")])

    @functools.cached_property
    def declares_tools(self) -> bool:
        """Return whether the tools of a request are rendered."""
        text = self._text([turn("user", "Zqone")], TOOLS)
        return text is not None and NAME in text and TOLD in text

    @functools.cached_property
    def bare_parameters(self) -> bool:
        """Return whether the parameters of tools may lack a description."""
        bare = {"type": "function", "function": TOOLS[0]["function"] | {"parameters": BARE}}
        return self._text([turn("user", "Zqone")], [bare]) is not None or not self.declares_tools

    @functools.cached_property
    def call_form(self) -> CallForm | None:
        """The form in which a call is rendered together with its result, or None."""
        forms = (
            CallForm(ids, arguments, content)
            for ids in ("any", "short")
            for content in ("", None)
            for arguments in ("object", "text")
        )
        return next((form for form in forms if self._keeps(called(form, 1))), None)

    @functools.cached_property
    def results(self) -> bool:
        """Return whether the results of calls are rendered in their own role."""
        return self.call_form is not None or (self.declares_tools and self._keeps([turn("user", "Zqone"), RESULT]))

    @functools.cached_property
    def parallel_calls(self) -> bool:
        """Return whether several calls of one message are rendered."""
        return self.call_form is not None and self._keeps(called(self.call_form, 2))

    @functools.cached_property
    def user_after_tool(self) -> bool:
        """Return whether a user message may follow a tool's result."""
        turns = called(self.call_form, 1) if self.call_form is not None else [turn("user", "Zqone"), RESULT]
        return self._keeps([*turns, turn("user", "Zqlast")])

    @functools.cached_property
    def orphaned_results(self) -> bool:
        """Return whether a tool's result is rendered where its call is missing."""
        return self._keeps([turn("user", "Zqone"), RESULT])

    @functools.cached_property
    def after_answer(self) -> str:
        """Text between an answer and the next turn, a line break, NUL, and the text behind the last answer."""
        turns = [turn("user", "Zqone"), turn("assistant", "Zqtwo"), turn("user", "Zqthree")]
        between, last = self._text(turns, None) or "", self._text(turns[:2], None) or ""
        found = between.rpartition("Zqtwo")[2].partition("Zqthree")[0] if "Zqthree" in between else ""
        return found + "\n\0" + (last.rpartition("Zqtwo")[2] if "Zqtwo" in last else "")

    def _keeps(self, messages: list[dict[str, Any]]) -> bool:
        """Return whether all words of `messages` are rendered, in order."""
        has_calls = any("tool_calls" in message or message["role"] == "tool" for message in messages)
        text = self._text(messages, TOOLS if has_calls else None)
        if text is None or PYTHON in text:
            return False
        return _in_order(text, [word for message in messages for word in _words(message)])

    @functools.cached_property
    def no_tools(self) -> list[dict[str, Any]] | None:
        """Value of `tools` for a request without tools: None, or an empty list if the template requires one."""
        choices: tuple[list[dict[str, Any]] | None, ...] = (None, [])
        for value in choices:
            with contextlib.suppress(RequestError):
                self._render([turn("user", "Zqone")], value)
                return value
        return None

    def _text(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> str | None:
        try:
            return self._render(messages, tools or self.no_tools)
        except RequestError:
            return None


def called(form: CallForm, count: int) -> list[dict[str, Any]]:
    """Return a conversation of the probe with `count` calls in one message and their results."""
    words = ["Zqargument", "Zqanother"][:count]
    ids = LONG_IDS if form.ids == "any" else SHORT_IDS
    calls = [
        {
            "type": "function",
            "id": identity,
            "function": {"name": NAME, "arguments": {"zq": w} if form.arguments == "object" else f'{{"zq": "{w}"}}'},
        }
        for identity, w in zip(ids, words, strict=False)
    ]
    results = [
        turn("tool", f"Zqresult{word}", tool_call_id=identity, name=NAME)
        for identity, word in zip(ids, words, strict=False)
    ]
    return [turn("user", "Zqone"), {"role": "assistant", "content": form.content, "tool_calls": calls}, *results]


def _words(message: dict[str, Any]) -> list[str]:
    calls = message.get("tool_calls", ())
    return [word for word in ("Zqargument", "Zqanother") if word in str(calls)] or [message["content"]]


def _in_order(text: str, words: list[str]) -> bool:
    place = 0
    for word in words:
        found = text.find(word, place)
        if found < 0:
            return False
        place = found + len(word)
    return True

"""Messages of a request to messages that a chat template accepts, without changing their order.

A system message stays where it is: as the template's own role where the template renders one there, as a marked note in
a user's turn where it does not. Moving it to the front would change the beginning of every later prompt, and no stored
prefix would match. What a template accepts is answered by `Manners`. Pure functions; no rendering.
"""

import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from msgspec.structs import replace

from lmx_daemon.contract.errors import RequestError
from lmx_daemon.contract.generation.attribution import without_attribution
from lmx_daemon.contract.generation.requests import Message, TextPart, Tool

NOTE = "[{kind}]\n{text}\n[end of {kind}]"
SYSTEM_NOTE = "[system message]\n"
SHORT_ID = re.compile(r"[A-Za-z0-9]{9}")
CALL = "<tool_call>\n{}\n</tool_call>"
TOOLS_HEADING = (
    "You can call the functions below. To call one, write a JSON object with its name and its arguments, enclosed in"
    " <tool_call> and </tool_call>:\n"
    '<tool_call>\n{"name": "the function\'s name", "arguments": {"parameter": "value"}}\n</tool_call>\n'
    "Several calls may follow each other. The results come in the next message. The functions, each with the JSON"
    " schema of its parameters:"
)


class CallIds(Protocol):
    """The form of ids in the calls that a template renders; a part of template_manners.CallForm."""

    @property
    def ids(self) -> str: ...


class Manners(Protocol):
    """Properties of a template; see template_manners.TemplateManners."""

    @property
    def system(self) -> bool: ...
    @property
    def several_systems(self) -> bool: ...
    @property
    def system_within(self) -> bool: ...
    @property
    def repeated_users(self) -> bool: ...
    @property
    def repeated_assistants(self) -> bool: ...
    @property
    def assistant_first(self) -> bool: ...
    @property
    def declares_tools(self) -> bool: ...
    @property
    def call_form(self) -> CallIds | None: ...
    @property
    def results(self) -> bool: ...
    @property
    def parallel_calls(self) -> bool: ...
    @property
    def user_after_tool(self) -> bool: ...
    @property
    def orphaned_results(self) -> bool: ...


def adapted(messages: Sequence[Message], tools: Sequence[Tool], manners: Manners) -> list[Message]:
    """Return the messages in a form that the template renders whole. A part of them is not merged with later parts."""
    found = [message for message in map(_plain, messages) if message.role != "system" or message.content]
    if not found:
        raise RequestError("the conversation has no message with content", param="messages")
    if tools and not manners.declares_tools:
        found = _with_tools_as_text(found, tools)
    found = _with_names(found)
    if any(message.tool_calls or message.role == "tool" for message in found):
        found = _with_accepted_calls(found, manners)
    found = _with_placed_systems(found, manners)
    if found[0].role == "assistant" and not manners.assistant_first:
        found = [_said("user", "[no message]"), *found]
    return _merged(found, manners)


# ---- system messages -----------------------------------------------------------------------------------------------


def _plain(message: Message) -> Message:
    """Return a system message as one text without attribution, and without content if that is blank."""
    if message.role != "system":
        return message
    text = without_attribution(message.text)
    return replace(message, content=(TextPart(text=text),) if text.strip() else ())


def _with_placed_systems(messages: list[Message], manners: Manners) -> list[Message]:
    leading = list(itertools.takewhile(lambda message: message.role == "system", messages))
    rest = messages[len(leading) :]
    if len(leading) > 1 and not (manners.system and manners.several_systems):
        leading = [_said("system", "\n\n".join(message.text for message in leading if message.text))]
    if leading and not manners.system:
        rest = _in_front(leading[0].text, rest)
        leading = []
    if any(message.role == "system" for message in rest) and not manners.system_within:
        rest = [_note_of(message) if message.role == "system" else message for message in rest]
    return [*leading, *rest]


def _in_front(text: str, messages: list[Message]) -> list[Message]:
    """Return the messages with a system text in front of the first one, if it is a user's."""
    if messages and messages[0].role == "user":
        first = messages[0]
        return [replace(first, content=(TextPart(text=text + "\n\n"), *first.content)), *messages[1:]]
    return [_said("user", text), *messages]


def _note_of(message: Message) -> Message:
    """Return a message as a user's message that names its role."""
    return _said("user", NOTE.format(kind=f"{message.role} message", text=message.text))


# ---- tools and calls -----------------------------------------------------------------------------------------------


def _with_tools_as_text(messages: list[Message], tools: Sequence[Tool]) -> list[Message]:
    """Return the messages with the tools in the first system message, for templates that do not render tools."""
    entries = (
        json.dumps({"name": t.name, "description": t.description, "parameters": t.parameters}, ensure_ascii=False)
        for t in tools
    )
    text = "\n".join((TOOLS_HEADING, *entries))
    if messages[0].role == "system":
        first = messages[0]
        return [replace(first, content=(*first.content, TextPart(text="\n\n" + text))), *messages[1:]]
    return [_said("system", text), *messages]


def _with_names(messages: list[Message]) -> list[Message]:
    """Return the messages with each result named by the function that was called."""
    names: dict[str, str] = {}
    found = []
    for message in messages:
        names |= {call.id: call.name for call in message.tool_calls}
        if message.role == "tool" and not message.name and message.tool_call_id in names:
            message = replace(message, name=names[message.tool_call_id])
        found.append(message)
    return found


def _with_accepted_calls(messages: list[Message], manners: Manners) -> list[Message]:
    if manners.call_form is None:
        as_text = ("assistant",) if manners.results else ("assistant", "tool")
        messages = [_call_as_text(message) if message.role in as_text else message for message in messages]
    elif manners.call_form.ids == "short":
        messages = [_with_short_ids(message) for message in messages]
    if not manners.orphaned_results:
        messages = list(_with_orphans_as_text(messages))
    if any(len(message.tool_calls) > 1 for message in messages) and not manners.parallel_calls:
        messages = list(_one_call_at_a_time(messages))
    return messages


def _call_as_text(message: Message) -> Message:
    if message.role == "tool":
        return _said("user", NOTE.format(kind=f"result of {message.name or 'the call'}", text=message.text))
    if not message.tool_calls:
        return message
    calls = (
        CALL.format(f'{{"name": {json.dumps(c.name)}, "arguments": {c.arguments or "{}"}}}') for c in message.tool_calls
    )
    text = "\n".join((*((message.text,) if message.text else ()), *calls))
    return replace(message, content=(TextPart(text=text),), tool_calls=())


def _with_orphans_as_text(messages: Iterable[Message]) -> Iterator[Message]:
    open_calls: set[str] = set()
    for message in messages:
        if message.role == "tool":
            yield message if message.tool_call_id in open_calls or len(open_calls) == 1 else _call_as_text(message)
            continue
        if message.role == "assistant":
            open_calls = {call.id for call in message.tool_calls}
        yield message


def _one_call_at_a_time(messages: Sequence[Message]) -> Iterator[Message]:
    """Yield the messages with each of several calls in a message of its own, followed by its result."""
    results = {message.tool_call_id: message for message in messages if message.role == "tool"}
    moved: set[str] = set()
    for message in messages:
        if message.role == "tool" and message.tool_call_id in moved:
            moved.discard(message.tool_call_id)
            continue
        if len(message.tool_calls) < 2:
            yield message
            continue
        for place, call in enumerate(message.tool_calls):
            first = replace(message, tool_calls=(call,))
            yield first if place == 0 else Message(role="assistant", tool_calls=(call,))
            if call.id in results:
                moved.add(call.id)
                yield results[call.id]


def _with_short_ids(message: Message) -> Message:
    if message.tool_calls:
        calls = tuple(replace(call, id=short_id(call.id)) for call in message.tool_calls)
        return replace(message, tool_calls=calls)
    if message.role == "tool":
        return replace(message, tool_call_id=short_id(message.tool_call_id or ""))
    return message


def short_id(identity: str) -> str:
    """Return an id of nine letters and digits for a call: the id itself if it is one, else a digest of it."""
    return identity if SHORT_ID.fullmatch(identity) else hashlib.sha256(identity.encode()).hexdigest()[:9]


# ---- turns ---------------------------------------------------------------------------------------------------------


def _merged(messages: list[Message], manners: Manners) -> list[Message]:
    """Return the messages with those joined that the template does not accept next to each other."""
    found: list[Message] = []
    for message in messages:
        last = found[-1] if found else None
        if last is not None and last.role == "tool" and message.role == "user" and not manners.user_after_tool:
            found[-1] = _joined(last, message if message.text.startswith(SYSTEM_NOTE) else _note_of(message))
        elif last is not None and _repeats(last, message, manners):
            found[-1] = _joined(last, message)
        else:
            found.append(message)
    return found


def _repeats(last: Message, message: Message, manners: Manners) -> bool:
    if last.role != message.role:
        return False
    if message.role == "user":
        return not manners.repeated_users
    return message.role == "assistant" and not last.tool_calls and not manners.repeated_assistants


def _joined(first: Message, second: Message) -> Message:
    gap = (TextPart(text="\n\n"),) if first.text and second.text else ()
    return replace(
        first,
        content=(*first.content, *gap, *second.content),
        tool_calls=second.tool_calls,
        reasoning="\n\n".join(part for part in (first.reasoning, second.reasoning) if part) or None,
    )


def _said(role: Any, text: str) -> Message:
    return Message(role=role, content=(TextPart(text=text),))

"""Items of the Responses routes to messages. Every item keeps its place. An unknown one is skipped and reported."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from lmx_daemon.contract.errors import RequestError
from lmx_daemon.contract.generation.requests import Message, Part, Role, TextPart, ToolCall
from lmx_daemon.http.dialects.json_limits import check_json
from lmx_daemon.http.dialects.openai_responses.bodies import Object
from lmx_daemon.http.dialects.openai_responses.tool_table import INPUT, ToolTable
from lmx_daemon.http.images.inline import image_of_url

ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
TEXT_PARTS = frozenset({"input_text", "output_text", "text", "summary_text", "reasoning_text"})
SUMMARY = "Summary of the conversation before this message:\n"


@dataclass
class ItemReader:
    """The messages of a request, built item by item."""

    table: ToolTable
    messages: list[Message] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    """Types of the items that were skipped."""
    _reasoning: str | None = None
    """Reasoning that belongs to the next message of the assistant."""

    def extend(self, items: Sequence[Object]) -> None:
        """Add items. Raise RequestError that names the place of a wrong one."""
        for position, item in enumerate(items):
            self._add(item, f"input[{position}]")

    def _add(self, item: Object, place: str) -> None:
        match item.get("type", "message" if "role" in item else None):
            case "message":
                self._message(item, place)
            case "reasoning":
                self._reasoning = (self._reasoning or "") + reasoning_of(item)
            case "function_call":
                name = self.table.model_name(text_of(item, "name", place), item.get("namespace"))
                arguments = item.get("arguments")
                self._call(item, name, arguments if isinstance(arguments, str) else encoded(arguments, place))
            case "custom_tool_call":
                name = self.table.model_name(text_of(item, "name", place), item.get("namespace"))
                self._call(item, name, msgspec.json.encode({INPUT: str(item.get("input") or "")}).decode())
            case "function_call_output" | "custom_tool_call_output":
                self._output(item, place)
            case "additional_tools":
                tools = item.get("tools")
                self.table.add(
                    [each for each in tools if isinstance(each, dict)] if isinstance(tools, list) else [], place
                )
            case "compaction" | "context_compaction" if (summary := opened(item.get("encrypted_content"))) is not None:
                self.messages.append(Message(role="user", content=(TextPart(text=SUMMARY + summary),)))
            case kind:
                self.skipped.append(str(kind)[:64])

    def _message(self, item: Object, place: str) -> None:
        named = text_of(item, "role", place) if item.get("role") is None else item["role"]
        role = ROLES.get(named) if isinstance(named, str) else None
        if role is None:
            raise RequestError(
                f"{place}.role: {str(named)[:64]!r} is not known; use user, assistant, system or developer",
                param=f"{place}.role",
            )
        content = parts_of(item.get("content"), f"{place}.content")
        reasoning = self._taken() if role == "assistant" else None
        self.messages.append(Message(role=role, content=content, reasoning=reasoning))

    def _call(self, item: Object, name: str, arguments: str) -> None:
        """Add a call to the assistant's message before it, if that is the same turn."""
        call = ToolCall(id=str(item.get("call_id") or item.get("id") or ""), name=name, arguments=arguments)
        reasoning = self._taken()
        last = self.messages[-1] if self.messages else None
        if last is not None and last.role == "assistant" and not (reasoning and last.tool_calls):
            joined = (last.reasoning or "") + reasoning if reasoning else last.reasoning
            self.messages[-1] = msgspec.structs.replace(last, tool_calls=(*last.tool_calls, call), reasoning=joined)
        else:
            self.messages.append(Message(role="assistant", tool_calls=(call,), reasoning=reasoning))

    def _output(self, item: Object, place: str) -> None:
        identity = str(item.get("call_id") or "")
        name = next(
            (call.name for message in reversed(self.messages) for call in message.tool_calls if call.id == identity),
            None,
        )
        content = parts_of(item.get("output"), f"{place}.output")
        self.messages.append(Message(role="tool", content=content, tool_call_id=identity, name=name))

    def _taken(self) -> str | None:
        reasoning, self._reasoning = self._reasoning, None
        return reasoning


def parts_of(content: Any, place: str) -> tuple[Part, ...]:
    """Return the parts of a message's or an output's content. Raise RequestError that names the place."""
    if content is None:
        return ()
    if isinstance(content, str):
        return (TextPart(text=content),)
    if not isinstance(content, list):
        raise RequestError(f"{place} must be a text or a list of parts", param=place)
    return tuple(part_of(part, f"{place}[{index}]") for index, part in enumerate(content))


def part_of(part: Any, place: str) -> Part:
    if not isinstance(part, dict):
        raise RequestError(f"{place} must be an object with a type", param=place)
    match part.get("type"):
        case str(kind) if kind in TEXT_PARTS:
            text = part.get("text")
            if not isinstance(text, str):
                raise RequestError(f"{place}.text must be a text", param=f"{place}.text")
            return TextPart(text=text)
        case "refusal":
            return TextPart(text=str(part.get("refusal") or ""))
        case "input_image":
            url = part.get("image_url")
            if not isinstance(url, str):
                raise RequestError(f"{place}: an image needs image_url, a text", param=f"{place}.image_url")
            return image_of_url(url, f"{place}.image_url")
        case "input_file":
            raise RequestError(f"{place}: files are not read; send their text as input_text", param=place)
        case kind:
            raise RequestError(f"{place}: a part of type {str(kind)[:64]!r} is not known", param=f"{place}.type")


def reasoning_of(item: Object) -> str:
    """Return the text of a reasoning item: its content, else what `sealed` made of it, else its summary."""
    for field_name in ("content", "encrypted_content", "summary"):
        found = item.get(field_name)
        if field_name == "encrypted_content":
            if (text := opened(found)) is not None:
                return text
        elif isinstance(found, list) and found:
            return "".join(str(part.get("text") or "") for part in found if isinstance(part, dict))
    return ""


SEAL = "lmx1."
"""Begin of what `sealed` returns. It is an encoding and no encryption."""


def sealed(text: str) -> str:
    """Return a text in the form in which clients keep it and send it back unread."""
    return SEAL + base64.urlsafe_b64encode(text.encode()).decode()


def opened(given: Any) -> str | None:
    """Return the text that `sealed` encoded; None for anything else."""
    if not isinstance(given, str) or not given.startswith(SEAL):
        return None
    try:
        return base64.b64decode(given[len(SEAL) :].encode(), b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        return None


def text_of(item: Object, name: str, place: str) -> str:
    value = item.get(name)
    if not isinstance(value, str) or not value:
        raise RequestError(f"{place}.{name} is required", param=f"{place}.{name}")
    return value


def encoded(value: Any, place: str) -> str:
    check_json(value, f"{place}.arguments")
    return msgspec.json.encode(value if value is not None else {}).decode()

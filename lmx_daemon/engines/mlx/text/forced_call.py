"""The constraint of an answer that has to be a tool call: required by the request, or of one named tool. Pure.

The marker that opens a call is forced token by token; the grammar of the call's JSON object follows.
"""

from typing import Any

from lmx_daemon.contract.constraint import JsonSchema
from lmx_daemon.contract.errors import RequestError, UnsupportedError
from lmx_daemon.contract.requests import Chat, Tool
from lmx_daemon.engines.mlx.text.families.family import Family

FORCED = ("required", "named")


def is_forced(prompt: object) -> bool:
    """Return whether the answer to a prompt has to be a tool call."""
    return isinstance(prompt, Chat) and prompt.tool_choice.mode in FORCED


def forced_call(chat: Chat, family: Family) -> JsonSchema:
    """Return the constraint of the call's JSON object. Raises RequestError and UnsupportedError."""
    choice = chat.tool_choice
    tools = [tool for tool in chat.tools if choice.mode == "required" or tool.name == choice.name]
    if not tools:
        reason = "no tools are given" if not chat.tools else f"no tool is named {choice.name!r}"
        raise RequestError(f"tool_choice: {reason}", param="tool_choice", hint="name one of the request's tools")
    if not family.json_calls:
        raise UnsupportedError(
            f"a rule on tool calls is not supported for models that write calls as {family.name} does",
            param="tool_choice",
            hint='use "auto" or "none"',
        )
    return JsonSchema(schema={"anyOf": [_call(tool) for tool in tools]}, param="tools")


def opening_text(family: Family) -> str:
    """Return the text that opens a forced call."""
    start = next((envelope.start for envelope in family.envelopes if envelope.calls), "")
    return start + "\n" if start.startswith("<tool_call") else start


def _call(tool: Tool) -> dict[str, Any]:
    """Return the schema of a call. Only a strict tool's arguments have to follow its own schema."""
    arguments = tool.parameters if tool.strict and tool.parameters else {"type": "object"}
    return {
        "type": "object",
        "properties": {"name": {"const": tool.name}, "arguments": arguments},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }

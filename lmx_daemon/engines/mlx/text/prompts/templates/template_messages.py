"""Messages and tools in the form that chat templates read: dictionaries as transformers has them."""

import json
from typing import Any

from lmx_daemon.contract.generation.requests import Message, Tool
from lmx_daemon.engines.mlx.text.prompts.templates.template_manners import CallForm


def as_function(tool: Tool) -> dict[str, Any]:
    """Return a tool in the form that templates and parsers read."""
    return {
        "type": "function",
        "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
    }


def with_descriptions(function: dict[str, Any]) -> dict[str, Any]:
    """Return a tool in which each parameter has a description, which may be empty."""
    about = function["function"]
    properties = about["parameters"].get("properties")
    if not isinstance(properties, dict):
        return function
    described = {
        name: {"description": ""} | schema if isinstance(schema, dict) else schema
        for name, schema in properties.items()
    }
    return function | {"function": about | {"parameters": about["parameters"] | {"properties": described}}}


def as_template_message(message: Message) -> dict[str, Any]:
    """Return the message in the form that templates read.

    The content is text, arguments are objects, and the reasoning has both names of transformers.
    """
    shown: dict[str, Any] = {"role": message.role, "content": message.text}
    if message.reasoning is not None:
        shown["reasoning_content"] = message.reasoning
        if not (message.tool_calls and message.text):  # gpt-oss refuses thinking beside the content of a call
            shown["thinking"] = message.reasoning
    if message.tool_calls:
        shown["tool_calls"] = [
            {
                "type": "function",
                "id": call.id,
                "function": {"name": call.name, "arguments": _arguments(call.arguments)},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        shown["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        shown["name"] = message.name
    return shown


def first_content(messages: list[dict[str, Any]]) -> str:
    """Return the content of the first message that is no system message; "" if there is none."""
    return next(((message["content"] or "").strip() for message in messages if message["role"] != "system"), "")


def in_call_form(message: dict[str, Any], form: CallForm) -> dict[str, Any]:
    """Return a message with calls in the form that the template renders."""
    if "tool_calls" not in message:
        return message
    message = message | {"content": message["content"] or form.content}
    return with_text_arguments(message) if form.arguments == "text" else message


def with_text_arguments(message: dict[str, Any]) -> dict[str, Any]:
    """Return a template's message whose calls have their arguments as JSON text."""
    if "tool_calls" not in message:
        return message
    return message | {"tool_calls": [_call_with_text(call) for call in message["tool_calls"]]}


def _call_with_text(call: dict[str, Any]) -> dict[str, Any]:
    function = call["function"]
    return call | {"function": function | {"arguments": json.dumps(function["arguments"], ensure_ascii=False)}}


def _arguments(text: str) -> dict[str, Any]:
    """Return the arguments of a call. Many templates read members, so other JSON and broken JSON become one member."""
    try:
        found = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError):
        found = text
    return found if isinstance(found, dict) else {"arguments": found}

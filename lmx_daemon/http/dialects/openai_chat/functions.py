"""OpenAI's first form of tool calls, `functions` and `function_call`, translated to and from `tools`.

A client that sends `functions` gets its answer in that form: one call, in `function_call`.
"""

from typing import Any

import msgspec

from lmx_daemon.contract.errors import RequestError
from lmx_daemon.contract.generation.events import ToolCallDelta
from lmx_daemon.http.dialects.openai_chat.bodies import ChatBody, MessageBody, ToolBody, ToolCallBody


def is_legacy(body: ChatBody) -> bool:
    """Return whether the answer has to be in the old form."""
    return bool(body.functions)


def modern(body: ChatBody) -> ChatBody:
    """Return `body` with tools in place of functions. Raise RequestError that names the field."""
    messages = _messages(body.messages)
    if not body.functions:
        return msgspec.structs.replace(body, messages=messages) if messages != body.messages else body
    if body.tools:
        raise RequestError("functions is the old name of tools; send only one of them", param="functions")
    return msgspec.structs.replace(
        body,
        messages=messages,
        tools=[ToolBody(function=function) for function in body.functions],
        tool_choice=_tool_choice(body),
        parallel_tool_calls=False,
    )


def _tool_choice(body: ChatBody) -> str | dict[str, Any] | None:
    match body.function_call:
        case None | "auto" | "none":
            return body.function_call
        case {"name": str(name)} if any(function.name == name for function in body.functions or []):
            return {"type": "function", "function": {"name": name}}
        case _:
            raise RequestError(
                "function_call: use 'none', 'auto' or the name of one of the functions", param="function_call"
            )


def _messages(given: list[MessageBody]) -> list[MessageBody]:
    """Return messages whose calls and results have ids, which the old form lacks: a result belongs to the last call."""
    if not any(message.function_call or message.role == "function" for message in given):
        return given
    found, identity = [], ""
    for position, message in enumerate(given):
        if message.function_call is not None and not message.tool_calls:
            identity = f"call{position:05}"  # 9 letters and digits, as Mistral's templates demand
            call = ToolCallBody(function=message.function_call, id=identity)
            message = msgspec.structs.replace(message, tool_calls=[call])
        elif message.role == "function" and message.tool_call_id is None:
            message = msgspec.structs.replace(message, tool_call_id=identity or None)
        found.append(message)
    return found


def function_call(piece: ToolCallDelta) -> dict[str, Any]:
    """Return a call, or a piece of it, in the old form. The name comes with the first piece only."""
    return ({} if piece.name is None else {"name": piece.name}) | {"arguments": piece.arguments}


def finish_reason(reason: str) -> str:
    """Return the old form's reason at the end of an answer."""
    return "function_call" if reason == "tool_calls" else reason

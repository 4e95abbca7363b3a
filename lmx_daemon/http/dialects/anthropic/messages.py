"""Messages of a conversation. Each stays in its place, so that a prompt continues the prompt of the turn before it."""

import msgspec

from lmx_daemon.contract.errors import RequestError
from lmx_daemon.contract.generation.requests import Message, Part, TextPart, ToolCall
from lmx_daemon.http.dialects.anthropic.blocks import (
    Block,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    blocks_of,
    parts_of,
)
from lmx_daemon.http.dialects.anthropic.bodies import Blocks, CountBody, InputMessage
from lmx_daemon.http.dialects.anthropic.call_ids import received
from lmx_daemon.http.dialects.ignored import Ignored
from lmx_daemon.http.dialects.json_limits import check_json

ATTRIBUTION = "x-anthropic-billing-header:"
"""Start of an attribution line in the system prompt of Claude Code. The line changes with each request."""
FAILED = "Error: "
"""Prefix of the result of a tool call that failed."""


def conversation(body: CountBody, ignored: Ignored) -> tuple[Message, ...]:
    """Return the messages. Raise RequestError for a wrong one."""
    found = system_prompt(body.system, ignored)
    last = len(body.messages) - 1
    for position, given in enumerate(body.messages):
        place = f"messages[{position}]"
        match given.role:
            case "user":
                found += user_messages(given, place, ignored)
            case "assistant":
                found += assistant_message(given, place, ignored, is_last=position == last)
            case _:  # a message without text sets directives for Anthropic's servers only
                text = system_text(given.content, f"{place}.content", ignored)
                found += [Message(role="system", content=(TextPart(text=text),))] if text else []
    return tuple(found)


def system_prompt(system: str | Blocks | None, ignored: Ignored) -> list[Message]:
    """Return the system prompt without attribution lines, as one message; none for an empty one."""
    text = system_text(system, "system", ignored)
    return [Message(role="system", content=(TextPart(text=text),))] if text else []


def system_text(content: str | Blocks | None, place: str, ignored: Ignored) -> str:
    """Return the text of a system message. A newline separates its blocks."""
    blocks = blocks_of(content, "system", place, ignored)
    texts = [without_attribution(block.text) for _, block in blocks if isinstance(block, TextBlock)]
    return "\n".join(text for text in texts if text)


def without_attribution(text: str) -> str:
    """Return `text` without an attribution line at its start."""
    return text.partition("\n")[2] if text.startswith(ATTRIBUTION) else text


def user_messages(given: InputMessage, place: str, ignored: Ignored) -> list[Message]:
    """Return a user's message and the results of tool calls in it, in their order. Raise RequestError for none."""
    found: list[Message] = []
    blocks = blocks_of(given.content, "user", f"{place}.content", ignored)
    run: list[tuple[str, Block]] = []
    for where, block in blocks:
        if isinstance(block, ToolResultBlock):
            found += _user(run, ignored)
            found.append(tool_result(block, where, ignored))
            run = []
        else:
            run.append((where, block))
    found += _user(run, ignored)
    if not found:
        raise RequestError(
            f"{place}.content: a user message needs text, an image, a document or a tool result",
            param=f"{place}.content",
        )
    return found


def _user(blocks: list[tuple[str, Block]], ignored: Ignored) -> list[Message]:
    parts = parts_of(blocks, ignored)
    return [Message(role="user", content=parts)] if parts else []


def tool_result(block: ToolResultBlock, place: str, ignored: Ignored) -> Message:
    """Return the result of a tool call. The text of a failed call begins with FAILED."""
    inner = blocks_of(block.content, "tool result", f"{place}.content", ignored)
    parts = parts_of(inner, ignored)
    if block.is_error:
        first = parts[0] if parts else TextPart(text="")
        failed = TextPart(text=FAILED + first.text) if isinstance(first, TextPart) else TextPart(text=FAILED)
        parts = (failed, *(parts[1:] if isinstance(first, TextPart) else parts))
    return Message(role="tool", content=parts, tool_call_id=received(block.tool_use_id))


def assistant_message(given: InputMessage, place: str, ignored: Ignored, *, is_last: bool) -> list[Message]:
    """Return an answer of an earlier turn, or the start of the answer if it is the last message.

    The texts of its blocks are concatenated, since they are pieces of one answer. Raise RequestError for calls in the
    last message.
    """
    text, reasoning, calls = "", "", list[ToolCall]()
    for where, block in blocks_of(given.content, "assistant", f"{place}.content", ignored):
        match block:
            case TextBlock():
                text += block.text
            case ThinkingBlock():
                reasoning += block.thinking
            case ToolUseBlock():
                check_json(block.input, f"{where}.input")
                arguments = msgspec.json.encode(block.input).decode()
                calls.append(ToolCall(id=received(block.id), name=block.name, arguments=arguments))
    if is_last and calls:
        raise RequestError(
            f"{place}: the tool calls of the last message have no results",
            param=place,
            hint="send the results as tool_result blocks of a user message",
        )
    if is_last and not text and not reasoning:
        return []
    content: tuple[Part, ...] = (TextPart(text=text),) if text else ()
    return [Message(role="assistant", content=content, reasoning=reasoning or None, tool_calls=tuple(calls))]

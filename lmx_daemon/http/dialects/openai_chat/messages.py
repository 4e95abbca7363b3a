"""Translation of the messages of a chat body."""

import msgspec

from lmx_daemon.contract.errors import RequestError, UnsupportedError
from lmx_daemon.contract.generation.requests import Message, Part, Role, TextPart, ToolCall
from lmx_daemon.http.dialects.json_limits import check_json
from lmx_daemon.http.dialects.openai_chat.bodies import ImageBody, MessageBody, PartBody, ToolCallBody
from lmx_daemon.http.images.inline import image_of_url

ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}


def message(position: int, given: MessageBody) -> Message:
    """Return the message at `position`. Raise RequestError or UnsupportedError that names its place."""
    role = ROLES[given.role]
    parts = [PartBody("text", given.content)] if isinstance(given.content, str) else given.content or []
    content = tuple(part_of(part, f"messages[{position}].content[{index}]") for index, part in enumerate(parts))
    if not content and role != "assistant":
        raise RequestError(f"messages[{position}]: content is missing", param=f"messages[{position}].content")
    return Message(
        role=role,
        content=content,
        reasoning=given.reasoning_content or given.reasoning,
        tool_calls=tuple(tool_call(position, call) for call in given.tool_calls or []),
        tool_call_id=given.tool_call_id,
        name=given.name,
    )


def part_of(part: PartBody, place: str) -> Part:
    """Return a part of a message's content."""
    match part.type:
        case "text" | "input_text":
            if part.text is None:
                raise RequestError(f"{place}: a text part needs text", param=f"{place}.text")
            return TextPart(text=part.text)
        case "refusal":
            return TextPart(text=part.refusal or part.text or "")
        case "image_url" | "input_image":
            url = part.image_url.url if isinstance(part.image_url, ImageBody) else part.image_url
            if url is None:
                raise RequestError(f"{place}: an image needs image_url", param=f"{place}.image_url")
            return image_of_url(url, f"{place}.image_url")
        case "input_audio" | "file" | "video_url":
            raise UnsupportedError(f"{place}: parts of type {part.type!r} are not supported", param=f"{place}.type")
        case _:
            raise RequestError(
                f"{place}: a part of type {part.type[:64]!r} is not known; use 'text' or 'image_url'",
                param=f"{place}.type",
            )


def tool_call(position: int, given: ToolCallBody) -> ToolCall:
    arguments = given.function.arguments
    if not isinstance(arguments, str):
        check_json(arguments, f"messages[{position}].tool_calls")
        arguments = msgspec.json.encode(arguments).decode()
    return ToolCall(id=given.id, name=given.function.name, arguments=arguments)

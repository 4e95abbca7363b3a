"""Tools and the rule on tool calls. Tools of Anthropic's own types, such as web search, are dropped."""

from typing import Annotated, Any, Literal

import msgspec

from lmx_daemon.contract.errors import RequestError
from lmx_daemon.contract.generation.requests import Tool, ToolChoice
from lmx_daemon.http.decoding import convert
from lmx_daemon.http.dialects.anthropic.bodies import CountBody
from lmx_daemon.http.dialects.ignored import Ignored
from lmx_daemon.http.dialects.json_limits import check_json


class ToolBody(msgspec.Struct, frozen=True):
    """Tool that the client runs."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    input_schema: dict[str, Any]
    description: str | None = None
    type: Literal["custom"] | None = None
    strict: bool | None = None


def tools(body: CountBody, ignored: Ignored) -> tuple[Tool, ...]:
    """Return the tools that the client runs. Raise RequestError for a wrong one."""
    found = []
    for position, given in enumerate(body.tools or []):
        place = f"tools[{position}]"
        if is_foreign(given):
            ignored.note(place, str(given["type"]))
            continue
        tool = convert(given, ToolBody, place)
        check_json(tool.input_schema, f"{place}.input_schema")
        schema = tool.input_schema or {"type": "object", "properties": {}}
        strict = tool.strict is True
        found.append(Tool(name=tool.name, description=tool.description or "", parameters=schema, strict=strict))
    return tuple(found)


def is_foreign(tool: dict[str, Any]) -> bool:
    """Return whether a tool is of a type that lmx cannot offer to a model, such as web_search_20250305."""
    kind = tool.get("type")
    return isinstance(kind, str) and kind != "custom"


def tool_choice(body: CountBody, offered: tuple[Tool, ...], ignored: Ignored) -> ToolChoice:
    """Return the rule on tool calls. Raise RequestError for a rule that no tool can satisfy.

    A rule that demands a dropped tool is ignored.
    """
    given = body.tool_choice
    if given is None or given.type == "auto":
        return ToolChoice()
    if given.type == "none":
        return ToolChoice(mode="none")
    foreign = [tool.get("name") for tool in body.tools or [] if is_foreign(tool)]
    if (given.name in foreign) if given.type == "tool" else (foreign and not offered):
        ignored.note("tool_choice", given.name or given.type)
        return ToolChoice()
    if given.type == "any":
        if not offered:
            raise RequestError("tool_choice: 'any' needs at least one tool", param="tool_choice")
        return ToolChoice(mode="required")
    if not any(tool.name == given.name for tool in offered):
        wanted = "a tool needs its name" if given.name is None else f"there is no tool {given.name!r}"
        raise RequestError(f"tool_choice.name: {wanted}", param="tool_choice.name")
    return ToolChoice(mode="named", name=given.name or "")


def is_parallel(body: CountBody) -> bool:
    """Return whether several tool calls are allowed in one answer."""
    return not (body.tool_choice and body.tool_choice.disable_parallel_tool_use)

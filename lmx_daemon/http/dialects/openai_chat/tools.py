"""Tools of a chat body, and the rule on their use."""

from typing import Any

from lmx_daemon.contract.errors import RequestError
from lmx_daemon.contract.generation.requests import Tool, ToolChoice
from lmx_daemon.http.dialects.json_limits import check_json
from lmx_daemon.http.dialects.openai_chat.bodies import ChatBody

FORMS = "use 'none', 'auto', 'required', a function by its name, or allowed_tools"


def tools(body: ChatBody) -> tuple[tuple[Tool, ...], ToolChoice]:
    """Return the tools that the model may call, and the rule on calls. Raise RequestError that names the field.

    The tools of a request that forbids calls stay in the prompt, so that stored prefixes match.
    """
    for position, tool in enumerate(body.tools or []):
        check_json(tool.function.parameters or {}, f"tools[{position}].function.parameters")
    offered = tuple(
        Tool(
            name=tool.function.name,
            description=tool.function.description or "",
            parameters=tool.function.parameters or {"type": "object", "properties": {}},
            strict=tool.function.strict is True,
        )
        for tool in body.tools or []
    )
    return offered_and_rule(body.tool_choice, offered)


def offered_and_rule(
    given: str | dict[str, Any] | None, offered: tuple[Tool, ...]
) -> tuple[tuple[Tool, ...], ToolChoice]:
    """Return the tools that `tool_choice` allows, and its rule on calls. Raise RequestError."""
    match given:
        case None | "auto":
            return offered, ToolChoice()
        case "none":
            return offered, ToolChoice(mode="none")
        case "required":
            return offered, required(offered)
        case {"type": "function", "function": {"name": str(name)}}:
            return offered, ToolChoice(mode="named", name=known(name, offered, "tool_choice.function.name"))
        case {"type": "allowed_tools", "allowed_tools": {"mode": "auto" | "required" as mode, "tools": list(allowed)}}:
            names = {name_of(tool, position, offered) for position, tool in enumerate(allowed)}
            left = tuple(tool for tool in offered if tool.name in names)
            return left, required(left) if mode == "required" else ToolChoice()
        case str():
            raise RequestError(f"tool_choice: {given[:64]!r} is not known; {FORMS}", param="tool_choice")
        case _:
            raise RequestError(f"tool_choice: the object has an unknown form; {FORMS}", param="tool_choice")


def required(offered: tuple[Tool, ...]) -> ToolChoice:
    """Return the rule that requires a call. Raise RequestError if there is no tool to call."""
    if not offered:
        raise RequestError("tool_choice: 'required' needs at least one tool", param="tool_choice")
    return ToolChoice(mode="required")


def known(name: str, offered: tuple[Tool, ...], place: str) -> str:
    """Return the name of a tool. Raise RequestError if no tool has it."""
    if not any(tool.name == name for tool in offered):
        raise RequestError(f"{place}: there is no tool {name[:64]!r}", param=place)
    return name


def name_of(given: Any, position: int, offered: tuple[Tool, ...]) -> str:
    """Return the name of an allowed tool. Raise RequestError for an unknown one."""
    place = f"tool_choice.allowed_tools.tools[{position}]"
    match given:
        case {"type": "function", "function": {"name": str(name)}}:
            return known(name, offered, f"{place}.function.name")
        case _:
            raise RequestError(f"{place}: a tool needs the type 'function' and a name", param=place)

"""The tools of a request: what the model sees, and what a call of it is to the client.

A model calls functions only. A custom tool, whose input is free text, becomes a function with one text; the tools of a
namespace become functions of their own. The table leads a call back to the tool that the client named.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from lmx_daemon.contract.errors import RequestError
from lmx_daemon.contract.generation.requests import Tool, ToolChoice
from lmx_daemon.http.dialects.json_limits import check_json
from lmx_daemon.http.dialects.openai_responses.bodies import Object

INPUT = "input"
"""Name of the only argument of a custom tool."""


@dataclass(frozen=True)
class NamedTool:
    """Tool under the name by which the model calls it."""

    tool: Tool
    name: str
    """Name by which the client called it, without its namespace."""
    custom: bool = False
    namespace: str | None = None


@dataclass
class ToolTable:
    """The tools of a request by the model's names for them."""

    tools: dict[str, NamedTool] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    """Kinds of tools that nothing here can run, such as web_search."""

    def add(self, given: Sequence[Object], place: str = "tools") -> None:
        """Add tools. Raise RequestError that names a function without a name."""
        for position, tool in enumerate(given):
            for found in self._read(tool, f"{place}[{position}]", None):
                self.tools[found.tool.name] = found

    def model_name(self, name: str, namespace: str | None) -> str:
        """Return the model's name for a tool that the client names."""
        for key, found in self.tools.items():
            if found.name == name and found.namespace == namespace:
                return key
        return name

    def visible(self) -> tuple[Tool, ...]:
        """Return the tools as the model sees them."""
        return tuple(found.tool for found in self.tools.values())

    def _read(self, given: Object, place: str, namespace: str | None) -> Iterator[NamedTool]:
        match given.get("type"):
            case "function" | "custom" as kind:
                yield self._named(given, place, namespace, custom=kind == "custom")
            case "namespace":
                inner = given.get("tools")
                for position, tool in enumerate(inner if isinstance(inner, list) else []):
                    if isinstance(tool, dict):
                        yield from self._read(tool, f"{place}.tools[{position}]", str(given.get("name") or ""))
            case kind:
                self.dropped.append(str(kind)[:64])

    def _named(self, given: Object, place: str, namespace: str | None, *, custom: bool) -> NamedTool:
        name = given.get("name")
        if not isinstance(name, str) or not 0 < len(name) <= 256:
            raise RequestError(f"{place}.name: a tool needs a name of 1 to 256 characters", param=f"{place}.name")
        shown = f"{namespace}__{name}" if namespace and name in self.tools else name
        description = given.get("description")
        text = description if isinstance(description, str) else ""
        if custom:
            tool = Tool(name=shown, description=text + format_note(given.get("format")), parameters=CUSTOM)
        else:
            parameters = given.get("parameters")
            if not isinstance(parameters, dict | None):
                raise RequestError(f"{place}.parameters must be a JSON schema", param=f"{place}.parameters")
            check_json(parameters or {}, f"{place}.parameters")
            schema = parameters if parameters is not None else {"type": "object", "properties": {}}
            tool = Tool(name=shown, description=text, parameters=schema, strict=given.get("strict") is True)
        return NamedTool(tool, name, custom, namespace)


CUSTOM: dict[str, Any] = {
    "type": "object",
    "properties": {INPUT: {"type": "string", "description": "The whole input of the tool, as free text"}},
    "required": [INPUT],
}


def format_note(given: Any) -> str:
    """Return the note on the form of a custom tool's input: the grammar that it has to follow."""
    if not isinstance(given, dict) or given.get("type") != "grammar" or not isinstance(given.get("definition"), str):
        return ""
    return f"\n\nThe input follows this {given.get('syntax', '')} grammar:\n{given['definition']}"


def input_of(arguments: str) -> str:
    """Return the free text in the arguments of a custom tool's call; the arguments themselves if there is none."""
    try:
        found = msgspec.json.decode(arguments)
    except msgspec.DecodeError:
        return arguments
    text = found.get(INPUT) if isinstance(found, dict) else None
    return text if isinstance(text, str) else arguments


def choice_of(given: str | Object | None, table: ToolTable) -> ToolChoice:
    """Return the rule on tool calls; the default for dropped tools. Raise RequestError for an unknown rule."""
    if given is None or given == "auto":
        return ToolChoice()
    if given == "none":
        return ToolChoice(mode="none")
    if given == "required":
        if not table.tools and not table.dropped:
            raise RequestError("tool_choice: 'required' needs at least one tool", param="tool_choice")
        return ToolChoice(mode="required" if table.tools else "auto")
    if isinstance(given, dict):
        kind, name = given.get("type"), given.get("name")
        if kind in ("function", "custom"):
            if not isinstance(name, str):
                raise RequestError("tool_choice.name: a tool needs its name", param="tool_choice.name")
            called = table.model_name(name, given.get("namespace"))
            if called not in table.tools:
                raise RequestError(f"tool_choice: there is no tool {name!r} in tools", param="tool_choice")
            return ToolChoice(mode="named", name=called)
        if kind == "allowed_tools":
            return ToolChoice(mode="required" if given.get("mode") == "required" else "auto")
        if isinstance(kind, str):
            return ToolChoice()
    raise RequestError(
        "tool_choice: use 'auto', 'none', 'required' or {\"type\": \"function\", \"name\": ...}", param="tool_choice"
    )

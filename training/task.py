"""A task: a tool, a request for it and the arguments of the call."""

from dataclasses import dataclass
from typing import Any

from training.sample import ToolSchema


@dataclass(frozen=True)
class Task:
    """A tool, a request for it, and the arguments that the request contains."""

    tool: ToolSchema
    request: str
    arguments: dict[str, Any]
    subject: frozenset[str]

    @property
    def name(self) -> str:
        name: str = self.tool["function"]["name"]
        return name


def function(name: str, description: str, properties: dict[str, Any], required: list[str]) -> ToolSchema:
    parameters = {"type": "object", "properties": properties, "required": required}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}

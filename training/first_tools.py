"""Tasks with tools in the manner of the first examples of client documentation, from first_tools.toml."""

import random
import re
import tomllib
from pathlib import Path
from typing import Any

from training.sample import ToolSchema
from training.task import Task, function
from training.words import Values

JSON_TYPES = {"integer": "integer"}
SHARE_OF_OPTIONAL = 0.35
"""Share of requests that state an optional argument."""


class FirstTools:
    """Generator of tasks from a random number generator and the values of a bank of words."""

    def __init__(self, rng: random.Random, values: Values) -> None:
        self.rng = rng
        self.values = values
        content = tomllib.loads((Path(__file__).parent / "first_tools.toml").read_text())
        self.tools: list[dict[str, Any]] = content["tool"]
        self.lists: dict[str, Any] = content["values"]

    def task(self) -> Task:
        """Return a tool, a request for it and the arguments of the call."""
        rng = self.rng
        tool = rng.choice(self.tools)
        name, about = rng.choice(tool["names"].split()), rng.choice(tool["about"]) + rng.choice(["", "", "."])
        request: str = rng.choice(tool["requests"])
        properties: dict[str, Any] = {}
        required, arguments = [], {}
        for argument, kind in tool["arguments"].items():
            key = rng.choice(tool["keys"][argument].split())
            optional, options = kind.startswith("?"), kind.lstrip("?").split()
            if (optional and rng.random() < 0.4) or key in properties:
                continue
            properties[key] = {"type": JSON_TYPES.get(options[0], "string")}
            if len(options) > 1:
                properties[key]["enum"] = options
            value = rng.choice(options) if len(options) > 1 else self.value(options[0])
            if not optional:
                required.append(key)
                request = request.replace("{" + argument + "}", str(value))
            elif rng.random() < SHARE_OF_OPTIONAL:
                request += rng.choice(tool["clauses"][argument]).replace("{v}", str(value))
            else:
                continue
            arguments[key] = value
        schema: ToolSchema = function(name, about, properties, required)
        return Task(schema, request + self.ending(request), arguments, frozenset(words(f"{name} {about}")))

    def ending(self, request: str) -> str:
        if re.match(r"(?i)(what|how|is|do|which|where|can|any)\b", request):
            return self.rng.choice(["?", "?", "?", ""])
        return self.rng.choice(["", "", "."])

    def value(self, kind: str) -> Any:
        """Return a value of a kind: one of the file's lists, or one of `Values`."""
        plural = f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"
        if plural in self.lists:
            choices = self.lists[plural]
            return self.rng.choice(choices.split() if isinstance(choices, str) else choices)
        return getattr(self.values, kind)()


def words(text: str) -> list[str]:
    """Return the words of a name and a description."""
    parts = re.sub(r"([a-z])([A-Z])", r"\1 \2", text).replace("_", " ").lower().split()
    return [part.strip(".") for part in parts if len(part) > 3]

"""Lists of tools as agents send them, of words that the bench models know."""

import random
from typing import Any

import msgspec

from lmx_cli.bench.prompts import WORDS

FunctionTool = dict[str, Any]
"""A tool in OpenAI's form."""


def tools(count: int, key: str, words: int) -> list[FunctionTool]:
    """Return `count` tools chosen by `key` alone, whose descriptions have `words` words."""
    generator = random.Random(key)
    return [{"type": "function", "function": _function(index, words, generator)} for index in range(count)]


def as_anthropic(listed: list[FunctionTool]) -> list[dict[str, Any]]:
    """Return the tools in Anthropic's form."""
    functions = (tool["function"] for tool in listed)
    return [
        {"name": each["name"], "description": each["description"], "input_schema": each["parameters"]}
        for each in functions
    ]


def kilobytes(count: int, words: int) -> str:
    """Return the size of such a list as JSON text."""
    return f"{len(msgspec.json.encode(tools(count, 'seen', words))) / 1000:.0f} kB"


def _function(index: int, words: int, generator: random.Random) -> dict[str, Any]:
    names = generator.sample(WORDS, 1 + words // 10)
    properties = {
        name: {"type": generator.choice(("string", "integer")), "description": _text(words // 3, generator)}
        for name in names
    }
    return {
        "name": f"{generator.choice(WORDS)}_{index}",
        "description": _text(words, generator),
        "parameters": {"type": "object", "properties": properties, "required": names[:1]},
    }


def _text(count: int, generator: random.Random) -> str:
    return " ".join(generator.choices(WORDS, k=count))

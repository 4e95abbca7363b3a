"""Parsers of tool calls on hostile text: the engine thread waits for none of them."""

import contextlib
import importlib
import time
from collections.abc import Callable
from typing import Any

import pytest
from mlx_lm.tool_parsers import glm47, json_tools

from lmx_daemon.engines.mlx.text.limited_parser import MAX_CHARACTERS, limited

TOOLS: list[dict[str, Any]] = [{"type": "function", "function": {"name": "f", "parameters": {"properties": {}}}}]
HOSTILE = {
    "function_gemma": "call:a{",
    "gemma4": "call:a{",
    "glm47": "<arg_key></arg_key><arg_value>",
    "kimi_k2": " ",
    "kimi_k3": "<|open|>call<|sep|>",
    "laguna": "<arg_key></arg_key><arg_value>",
    "longcat": "<longcat_arg_key></longcat_arg_key><longcat_arg_value>",
    "minicpm5": "name",
    "minimax_m2": "<invoke name=",
    "mistral": "a",
    "muse_spark": '<atem:invoke name="a"> name="',
    "pythonic": "[a(",
    "qwen3_coder": "<function=",
}
LIMIT = 3.0
"""Seconds. Without a limit, the parsers take up to hours for this text."""


def seconds_of(act: Callable[[], Any]) -> float:
    begun = time.thread_time()
    act()
    return time.thread_time() - begun


@pytest.mark.parametrize("family", HOSTILE)
def test_no_text_occupies_the_engine_thread(family: str) -> None:
    parser = limited(importlib.import_module(f"mlx_lm.tool_parsers.{family}").parse_tool_call)
    unit = HOSTILE[family]

    def parse() -> None:
        with contextlib.suppress(Exception):
            parser(unit * (100_000 // len(unit)), TOOLS)

    assert seconds_of(parse) < LIMIT


def test_a_long_call_is_parsed_up_to_the_limit() -> None:
    parser = limited(json_tools.parse_tool_call)
    text = '{"name": "f", "arguments": {"a": "%s"}}'
    assert parser(text % ("x" * 200_000), TOOLS)["name"] == "f"
    with pytest.raises(ValueError, match="characters"):
        parser(text % ("x" * MAX_CHARACTERS), TOOLS)


def test_a_limited_parser_leaves_the_module_unchanged() -> None:
    before = dict(vars(glm47))
    assert limited(glm47.parse_tool_call)("f<arg_key>a</arg_key><arg_value>1</arg_value>", TOOLS) == {
        "name": "f",
        "arguments": {"a": 1},
    }
    assert dict(vars(glm47)) == before

"""A time limit on mlx-lm's tool parsers. Some of their patterns take quadratic or cubic time on hostile text.

A parser runs on the engine thread, so that its time is taken from every row of the batch.
"""

import sys
import time
from collections.abc import Callable
from functools import partial
from types import FunctionType
from typing import Any

import regex  # type: ignore[import-untyped]  # a dependency of mlx-lm

PARSE_SECONDS = 0.1
"""Limit on one run of a parser's patterns."""
MAX_CHARACTERS = 256 * 1024
"""Longest text that a parser reads. What a parser does besides its patterns takes time in proportion to the text."""
MAX_STRINGS = 4096
"""Most strings in a call of Gemma. Its parser searches the whole text for each of them."""

ToolParser = Callable[[str, Any], Any]


class LimitedPattern:
    """A compiled pattern whose methods raise TimeoutError at the deadline of its parser."""

    def __init__(self, pattern: Any, left: Callable[[], float]) -> None:
        self._pattern, self._left = pattern, left

    def __getattr__(self, name: str) -> Any:
        return partial(getattr(self._pattern, name), timeout=self._left())


class LimitedParser:
    """A copy of a parser whose patterns have a time limit. The functions of its module are copied with it."""

    def __init__(self, parser: ToolParser, seconds: float = PARSE_SECONDS) -> None:
        self._seconds, self._begun = seconds, 0.0
        names = dict(vars(sys.modules[parser.__module__]))
        for name, value in list(names.items()):
            if isinstance(value, regex.Pattern):
                names[name] = LimitedPattern(value, self._left)
            elif isinstance(value, FunctionType) and value.__module__ == parser.__module__:
                names[name] = FunctionType(value.__code__, names, name, value.__defaults__, value.__closure__)
        self._parse: ToolParser = names[parser.__name__]

    def __call__(self, text: str, tools: Any) -> Any:
        """Return the calls of `text`. Raise ValueError for a text that is too long, TimeoutError at the limit."""
        if len(text) > MAX_CHARACTERS:
            raise ValueError(f"a call of more than {MAX_CHARACTERS} characters")
        self._begun = time.thread_time()
        return self._parse(text, tools)

    def _left(self) -> float:
        return max(self._begun + self._seconds - time.thread_time(), 1e-4)


def limited(parser: ToolParser) -> ToolParser:
    """Return a parser of mlx-lm with a time limit."""
    from mlx_lm.tool_parsers import function_gemma, gemma4  # only after the engine has imported MLX

    if parser is function_gemma.parse_tool_call:
        return partial(_function_gemma, LimitedParser(gemma4.parse_tool_call), LimitedParser(parser))
    if parser is gemma4.parse_tool_call:
        return partial(_gemma, LimitedParser(parser))
    return LimitedParser(parser)


def _gemma(parser: ToolParser, text: str, tools: Any) -> Any:
    """Return the calls of Gemma 4. Raise ValueError for more than MAX_STRINGS strings."""
    if text.count('<|"|>') > 2 * MAX_STRINGS:
        raise ValueError(f"a call of more than {MAX_STRINGS} strings")
    return parser(text, tools)


def _function_gemma(newer: ToolParser, older: ToolParser, text: str, tools: Any) -> Any:
    """Return the calls of FunctionGemma, by Gemma 4's grammar: its own cannot read nested values."""
    try:
        return _gemma(newer, text.replace("<escape>", '<|"|>'), tools)
    except ValueError:
        return older(text, tools)

"""Variables that turn thinking on or off in chat templates. Their names differ between model families."""

import re
from typing import Any

COMMON = ("enable_thinking", "thinking")
"""Booleans, set for every template: an unread variable changes nothing, and both names have no other meaning."""
RARE: dict[str, dict[bool, Any]] = {
    "reasoning": {True: True, False: False},  # Cohere
    "thinking_budget": {False: 0},  # Seed-OSS; no budget means no limit
}
"""Values for templates that read the name as a variable; elsewhere it may be a variable of the template's own."""
TAG = re.compile(r"\{[{%].*?[%}]\}", re.DOTALL)
QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
NAME = re.compile(rf"(?<![\w.])(?:{'|'.join(RARE)})\b")


def thinking_variables(template: str, thinking: bool | None) -> dict[str, Any]:
    """Return the variables that turn thinking on or off in `template`; none for None, the template's default."""
    if thinking is None:
        return {}
    common = dict.fromkeys(COMMON, thinking)
    return common | {name: RARE[name][thinking] for name in _rare_names(template) if thinking in RARE[name]}


def _rare_names(template: str) -> set[str]:
    """Return the names of RARE that are identifiers in the template's tags.

    The template is not parsed here: it is foreign code, which only the killable child may handle.
    """
    return {name for tag in TAG.findall(template) for name in NAME.findall(QUOTED.sub("", tag))}

"""Thinking in prompts: the variables of templates that turn it on or off, and whether a prompt ends inside of it."""

import re
from typing import Any

COMMON = ("enable_thinking", "thinking")
"""Booleans, set for every template: an unread variable changes nothing, and both names have no other meaning."""
RARE: dict[str, dict[bool, Any]] = {
    "reasoning": {True: True, False: False},  # Cohere
    "thinking_budget": {False: 0},  # Seed-OSS; no budget means no limit
}
"""Values for templates that read the name as a variable; elsewhere it may be a variable of the template's own."""
EFFORT = "reasoning_effort"
"""gpt-oss has levels only; the lowest one stands for thinking that is off, in templates without another switch."""
TAIL_CHARACTERS = 4000
"""Characters at the end of the prompt that are searched for an open thinking marker."""
TAG = re.compile(r"\{[{%].*?[%}]\}", re.DOTALL)
QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
NAME = re.compile(rf"(?<![\w.])(?:{'|'.join((*COMMON, *RARE, EFFORT))})\b")


def thinking_variables(template: str, thinking: bool | None) -> dict[str, Any]:
    """Return the variables that turn thinking on or off in `template`; none for None, the template's default."""
    if thinking is None:
        return {}
    common: dict[str, Any] = dict.fromkeys(COMMON, thinking)
    read = _names(template)
    if read == {EFFORT} and not thinking:
        common[EFFORT] = "low"
    return common | {name: RARE[name][thinking] for name in RARE if name in read and thinking in RARE[name]}


def ends_in_thought(text: str, start: str | None, end: str | None) -> bool:
    """Return whether `text` ends with an open thinking block that has no content yet."""
    if not start or not end:
        return False
    tail = text[-TAIL_CHARACTERS:]
    opened = tail.rfind(start)
    return opened >= 0 and tail.rfind(end) < opened and not tail[opened + len(start) :].strip()


def _names(template: str) -> set[str]:
    """Return the names of switches that are identifiers in the template's tags.

    The template is not parsed here: it is foreign code, which only the killable child may handle.
    """
    return {name for tag in TAG.findall(template) for name in NAME.findall(QUOTED.sub("", tag))}

"""Constraints that a request puts on the text of its answer."""

from typing import Annotated, Any

import msgspec

from lmx_daemon.contract.frozen import Frozen


class TextConstraint(Frozen, frozen=True, kw_only=True):
    """The part that all constraints have."""

    param: str = "response_format"
    """Field of the client's request, for errors."""


class JsonSchema(TextConstraint, frozen=True, kw_only=True, tag="json_schema", tag_field="type"):
    """The answer is JSON that the schema accepts. {"type": "object"} accepts any object."""

    schema: dict[str, Any]


class Regex(TextConstraint, frozen=True, kw_only=True, tag="regex", tag_field="type"):
    """The whole answer matches the regular expression."""

    pattern: str


class TextChoice(TextConstraint, frozen=True, kw_only=True, tag="choice", tag_field="type"):
    """The whole answer is one of the texts."""

    choices: Annotated[tuple[Annotated[str, msgspec.Meta(min_length=1)], ...], msgspec.Meta(min_length=1)]


class Grammar(TextConstraint, frozen=True, kw_only=True, tag="grammar", tag_field="type"):
    """The whole answer matches a grammar in Lark's notation."""

    lark: str


Constraint = JsonSchema | Regex | TextChoice | Grammar

"""Constraints that a request puts on the text of its answer."""

from typing import Any

from lmx_daemon.contract.frozen import Frozen


class JsonSchema(Frozen, frozen=True, tag="json_schema", tag_field="type"):
    """The answer is JSON that the schema accepts."""

    schema: dict[str, Any]


class Regex(Frozen, frozen=True, tag="regex", tag_field="type"):
    """The whole answer matches the regular expression."""

    pattern: str


class Grammar(Frozen, frozen=True, tag="grammar", tag_field="type"):
    """The whole answer matches a grammar in Lark's notation."""

    lark: str


Constraint = JsonSchema | Regex | Grammar

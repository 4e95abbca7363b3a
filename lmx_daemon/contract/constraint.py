"""What an answer must conform to, where a request says so."""

from typing import Any

from lmx_daemon.contract.frozen import Frozen


class JsonSchema(Frozen, frozen=True, tag="json_schema", tag_field="type"):
    schema: dict[str, Any]


class Regex(Frozen, frozen=True, tag="regex", tag_field="type"):
    pattern: str


class Grammar(Frozen, frozen=True, tag="grammar", tag_field="type"):
    """A grammar in Lark's notation."""

    lark: str


Constraint = JsonSchema | Regex | Grammar

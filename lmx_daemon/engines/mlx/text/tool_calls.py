"""Parsing of a tool call's text into name, arguments and id, by the parser of the model's family."""

import json
import re
import uuid
from typing import Any

import msgspec

from lmx_daemon.contract.text import valid_text
from lmx_daemon.engines.mlx.text.limited_parser import ToolParser

CALL_ID = re.compile(r"(?<![\w-])([\w-]+)\s*\[CALL_ID\]\s*([\w-]+)\s*(?=\[ARGS\])")
"""Header of a call with an id, as Mistral's tokenizers have it from version 11 on."""


class ParsedCall(msgspec.Struct, frozen=True):
    """A tool call that a model made. `arguments` is JSON text."""

    name: str
    arguments: str
    id: str | None = None
    """Id that the model itself wrote."""


def read_calls(parser: ToolParser, text: str, tools: list[dict[str, Any]]) -> list[ParsedCall]:
    """Return the calls of one envelope. Raises any exception if `text` is not a call."""
    ids: list[str] = []
    if "[CALL_ID]" in text:  # mlx-lm's parser would read the id as the name
        ids = [found[2] for found in CALL_ID.finditer(text)]
        text = CALL_ID.sub(r"\1", text)
    parsed = parser(text, tools)
    entries = parsed if isinstance(parsed, list) else [parsed]
    if not entries:
        raise ValueError("no call")
    given = ids if len(ids) == len(entries) else [entry.get("id") for entry in entries]
    return [_call(entry, identity) for entry, identity in zip(entries, given, strict=True)]


def split_rest(text: str) -> tuple[str, str]:
    """Return the calls of a family without an end marker, and the text behind their last JSON value."""
    start = text.rfind("[ARGS]") + len("[ARGS]") if "[ARGS]" in text else 0
    start += len(text[start:]) - len(text[start:].lstrip())
    try:
        _, end = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
        return text, ""
    return text[:end], text[end:]


def new_id() -> str:
    """Return an id for a call whose model wrote none."""
    return f"call_{uuid.uuid4().hex[:24]}"


def _call(entry: Any, identity: Any) -> ParsedCall:
    name, arguments = entry["name"], entry.get("arguments", entry.get("parameters", {}))
    if not isinstance(name, str) or not name.strip():
        raise ValueError("a call without a name")
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
    given = valid_text(identity) if isinstance(identity, str) and identity else None
    return ParsedCall(name=valid_text(name), arguments=valid_text(arguments), id=given)

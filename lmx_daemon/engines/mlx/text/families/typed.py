"""Values written as text, as XML-like formats have them, to JSON values of the types that a tool's schema states."""

import json
from typing import Any

from lmx_daemon.engines.mlx.text.families.family import Tools
from lmx_daemon.engines.mlx.text.families.literals import literal
from lmx_daemon.engines.mlx.text.families.source import NotACall

DEFINITIONS = ("$defs", "definitions")
ALTERNATIVES = ("anyOf", "oneOf", "allOf")
TYPE_OF = {str: "string", bool: "boolean", int: "integer", float: "number", dict: "object", list: "array"}
SPELLINGS = {
    "str": "string",
    "text": "string",
    "varchar": "string",
    "char": "string",
    "enum": "string",
    "int": "integer",
    "long": "integer",
    "float": "number",
    "double": "number",
    "bool": "boolean",
    "dict": "object",
    "map": "object",
    "list": "array",
    "arr": "array",
    "tuple": "array",
}
"""Names of types that are no JSON schema, as some clients write them."""
MAX_DEPTH = 8


def properties_of(tools: Tools, name: str) -> dict[str, Any]:
    """Return the schemas of the parameters of a tool; {} if they are not known."""
    for tool in tools:
        function = tool.get("function") or {}
        if function.get("name") == name:
            return property_schemas(function.get("parameters") or {})
    return {}


def property_schemas(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the schemas of parameters, each of which stands for itself: references of its own are resolved."""
    found = parameters.get("properties")
    if not isinstance(found, dict):
        return {}
    definitions = {key: parameters[key] for key in DEFINITIONS if isinstance(parameters.get(key), dict)}
    if not definitions:
        return found
    return {
        key: resolved(schema, definitions) | definitions if isinstance(schema, dict) else schema
        for key, schema in found.items()
    }


def resolved(schema: Any, definitions: dict[str, Any], depth: int = 0) -> Any:
    """Return a schema whose own references to `definitions`, and those of its alternatives, are replaced."""
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return schema
    reference = str(schema.get("$ref", "")).split("/")
    if reference[0] == "#" and len(reference) == 3:
        target = definitions.get(reference[1], {}).get(reference[2])
        if isinstance(target, dict):
            own = {key: value for key, value in schema.items() if key != "$ref"}
            return resolved(target | own, definitions, depth + 1)
    alternatives = {key: schema[key] for key in ALTERNATIVES if isinstance(schema.get(key), list)}
    return schema | {
        key: [resolved(each, definitions, depth + 1) for each in inner] for key, inner in alternatives.items()
    }


def typed(text: str, schema: Any) -> Any:
    """Return the value that `text` has by `schema`. It stays text if the schema allows nothing else, or is absent.

    Without a stated type, only objects and lists are read: a number may be a text of digits.
    """
    types = types_of(schema)
    if types == {"string"}:
        return text
    bare = text.strip()
    if "null" in types and bare.lower() in ("null", "none"):
        return None
    if not types:
        return _container(bare, text)
    value = _value_of(bare)
    if isinstance(value, bool):
        return value if "boolean" in types else text
    if isinstance(value, float) and value.is_integer() and "number" not in types and "integer" in types:
        return int(value)
    if isinstance(value, int) and types & {"integer", "number"}:
        return value
    if "boolean" in types and bare in ("0", "1"):
        return bare == "1"
    if isinstance(value, str) and value is not bare and types & {"string"}:
        return text
    return value if TYPE_OF.get(type(value)) in types else text


def types_of(schema: Any, depth: int = 0) -> set[str]:
    """Return the types that a schema allows; none if it states none."""
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return set()
    stated = schema.get("type")
    names = [stated] if isinstance(stated, str) else [each for each in stated or () if isinstance(each, str)]
    types = {SPELLINGS.get(name.lower(), name.lower()) for name in names}
    if not types and isinstance(schema.get("enum"), list):
        types = {"null" if each is None else TYPE_OF.get(type(each), "string") for each in schema["enum"]}
    for key in ALTERNATIVES:
        for inner in schema.get(key) or () if isinstance(schema.get(key), list) else ():
            types |= types_of(inner, depth + 1)
    return types | ({"null"} if types and schema.get("nullable") is True else set())


def untyped(text: str) -> Any:
    """Return the value of `text` if it is JSON or a Python literal, else the text."""
    value = _value_of(text.strip())
    return text if isinstance(value, str) and value == text.strip() else value


def arguments_text(values: dict[str, Any]) -> str:
    """Return arguments as JSON text. Raises NotACall for numbers that JSON has not."""
    try:
        return json.dumps(values, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise NotACall("arguments that are not JSON") from error


def _container(bare: str, text: str) -> Any:
    value = _value_of(bare) if bare[:1] in ("{", "[") else text
    return value if isinstance(value, (dict, list)) else text


def _value_of(bare: str) -> Any:
    try:
        return json.loads(bare, strict=False)
    except (ValueError, RecursionError):
        pass
    try:
        return literal(bare)
    except NotACall:
        return bare

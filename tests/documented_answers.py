"""Strict validation of answers of LM Studio's and Ollama's routes, by schemas written from their public documents.

The schemas in tests/schemas/dialects allow no field that the documents lack, apart from `hint` in an error of LM
Studio's routes. /api/v0 repeats OpenAI's answers, which `tests.openai_types` validates.
"""

import functools
import json
from pathlib import Path
from typing import Any, Literal

import jsonschema

from tests import openai_types

SCHEMAS = Path(__file__).parent / "schemas" / "dialects"
FACTS = ("stats", "model_info", "runtime")
"""Fields that /api/v0 adds to OpenAI's."""

Dialect = Literal["lmstudio", "ollama"]


def check(dialect: Dialect, kind: str, body: bytes | str) -> Any:
    """Return the JSON of an answer. Raise ValidationError if it is not a valid answer of `kind`."""
    value = json.loads(body)
    validator(dialect, kind).validate(value)
    return value


def check_v0(kind: str, body: bytes | str) -> Any:
    """Return the JSON of an answer of /api/v0, or of the last chunk: OpenAI's `kind` with FACTS."""
    value = json.loads(body)
    validator("lmstudio", "v0_facts").validate({name: value[name] for name in FACTS if name in value})
    rest = {name: given for name, given in value.items() if name not in FACTS}
    if kind.endswith("_chunk"):  # the last chunk, which has the usage beside a choice
        jsonschema.Draft202012Validator(openai_types.part("usage")).validate(rest.pop("usage"))
    openai_types.check(kind, json.dumps(rest))
    return value


@functools.cache
def validator(dialect: Dialect, kind: str) -> jsonschema.Draft202012Validator:
    """Return the validator of one definition of a dialect's schema."""
    schema = json.loads((SCHEMAS / f"{dialect}.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator({"$defs": schema["$defs"], "$ref": f"#/$defs/{kind}"})

"""Strict validation of OpenAI answers: by the types of the `openai` package, and by the schemas in tests/schemas.

The package's types accept unknown fields, and most of their fields are optional. A field beyond them fails here unless
it is one of EXTENSIONS. The schemas add what the wire format requires: which fields are present, and which are null.
"""

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import jsonschema
from openai.types import Completion, CompletionChoice, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.shared import ErrorObject
from pydantic import BaseModel, ConfigDict
from referencing import Registry, Resource

SCHEMAS = Path(__file__).parent / "schemas"
EXTENSIONS = {
    "ChatCompletionMessage": {"reasoning_content", "reasoning"},
    "ChoiceDelta": {"reasoning_content", "reasoning"},
    "ErrorObject": {"hint"},
    "PromptTokensDetails": {"truncated_tokens"},
    "ChatCompletionChunk": {"truncated_tokens"},
    "CompletionChunk": {"truncated_tokens"},
    # OpenAI's schema has these, the types of the package lack them.
    "Response": {"store"},
    "ResponseCustomToolCall": {"status"},
    "ResponseFunctionCallArgumentsDoneEvent": {"name"},
    "Logprob": {"bytes"},
    "LogprobTopLogprob": {"bytes"},
    "Model": {
        "state",
        "max_context_length",
        "max_model_len",
        "loaded_context_length",
        "type",
        "display_name",
        "created_at",
        "lifecycle",
        "max_input_tokens",
        "max_tokens",
    },
}
"""Fields that lmx adds, by the type that has them. SDKs keep unknown fields, so they change nothing for a client."""


class CompletionChunkChoice(CompletionChoice):
    """A choice in a chunk. OpenAI's stream has null before the last chunk, which the package's type leaves out."""

    finish_reason: Literal["stop", "length", "content_filter"] | None  # type: ignore[assignment]


class CompletionChunk(Completion):
    """Event of a completion stream; the package has the same type for it as for a whole answer."""

    choices: list[CompletionChunkChoice]  # type: ignore[assignment]


class ModelList(BaseModel):
    """Answer of GET /v1/models, with Anthropic's fields of a page and the one that Codex expects."""

    model_config = ConfigDict(extra="forbid")
    object: Literal["list"]
    data: list[Model]
    first_id: str | None
    last_id: str | None
    has_more: Literal[False]
    models: list[None]


class ErrorBody(BaseModel):
    """Body of an answer that reports an error. The package reads the object in it."""

    model_config = ConfigDict(extra="forbid")
    error: ErrorObject


TYPES: dict[str, type[BaseModel]] = {
    "chat_completion": ChatCompletion,
    "chat_completion_chunk": ChatCompletionChunk,
    "completion": Completion,
    "completion_chunk": CompletionChunk,
    "model": Model,
    "model_list": ModelList,
    "error": ErrorBody,
}


def check(kind: str, body: bytes | str) -> Any:
    """Return the JSON of an answer. Raise ValidationError or AssertionError if it is not a valid answer of `kind`."""
    answer = TYPES[kind].model_validate_json(body, strict=True)
    assert (unknown := list(unknown_fields(answer))) == [], f"{kind} has fields that OpenAI does not define: {unknown}"
    value = json.loads(body)
    validator(kind).validate(value)
    return value


def check_stream(kind: str, body: bytes) -> list[Any]:
    """Return the JSON of each event of a stream, checked; the last one is an error, or followed by `[DONE]`."""
    events = body.decode().split("\n\n")
    assert events.pop() == "", "the stream ends within an event"
    data = [event.removeprefix("data: ") for event in events if not event.startswith(":")]
    assert data and not any("\n" in entry for entry in data)
    failed = "error" in data[-1][:10]
    chunks = data[:-1]
    values = [check(kind, entry) for entry in chunks]
    if failed:
        return [*values, check("error", data[-1])]
    assert data[-1] == "[DONE]", "a stream that succeeds ends with [DONE]"
    assert len({(value["id"], value["created"], value["model"]) for value in values}) == 1
    return values


def unknown_fields(found: Any, place: str = "") -> Iterator[str]:
    """Yield the place of each field that neither its type nor EXTENSIONS has."""
    if isinstance(found, BaseModel):
        for name in found.model_extra or {}:
            if name not in EXTENSIONS.get(type(found).__name__, ()):
                yield f"{place}.{name}"
        for name in type(found).model_fields:
            yield from unknown_fields(getattr(found, name), f"{place}.{name}")
    elif isinstance(found, list):
        for index, entry in enumerate(found):
            yield from unknown_fields(entry, f"{place}[{index}]")


@functools.cache
def validator(kind: str) -> jsonschema.Draft202012Validator:
    """Return the validator of tests/schemas/KIND.json."""
    schemas = {file.name: json.loads(file.read_text()) for file in SCHEMAS.glob("*.json")}
    registry: Registry[Any] = Registry().with_resources(
        (name, Resource.from_contents(schema)) for name, schema in schemas.items()
    )
    schema = schemas[f"{kind}.json"]
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema, registry=registry)


def part(name: str) -> Any:
    """Return the schema of one part that several answers have."""
    return json.loads((SCHEMAS / "parts.json").read_text())["$defs"][name]

"""The OpenAPI document of the public port, made of the operations that its dialects describe."""

import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import msgspec

from lmx_daemon.contract.version import VERSION
from lmx_daemon.http.dialect import Dialect, Dialects
from lmx_daemon.http.operation import Operation

REFERENCE = "#/components/schemas/{name}"
SSE = "text/event-stream"
SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "Needed only if the daemon has an API key."},
    "header": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}


class OpenApiDocument:
    """The document, made when it is first asked for: its types are needed for nothing else."""

    def __init__(self, dialects: Dialects) -> None:
        self._dialects = dialects
        self._encoded: bytes | None = None

    def encoded(self) -> bytes:
        """Return the document as JSON."""
        if self._encoded is None:
            self._encoded = msgspec.json.encode(document(self._dialects))
        return self._encoded


def document(dialects: Dialects) -> dict[str, Any]:
    """Return the document of all operations."""
    found = [(dialect, operation) for dialect in dialects.all for operation in dialect.operations()]
    types = {kind: None for _, operation in found for kind in types_of(operation)}
    schemas, components = msgspec.json.schema_components(types, ref_template=REFERENCE)
    schema_of = dict(zip(types, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for dialect, operation in found:
        paths.setdefault(operation.path, {})[operation.method] = described(operation, dialect, schema_of)
    return {
        "openapi": "3.2.0",  # the first version that describes the items of a stream
        "info": {"title": "lmx", "version": VERSION, "description": "The public port of the lmx daemon."},
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": SECURITY},
    }


def types_of(operation: Operation) -> Iterator[Any]:
    """Yield the types that an operation names."""
    for kind in (operation.body, operation.answer, operation.stream, operation.error):
        if kind is not None:
            yield kind


def described(operation: Operation, dialect: Dialect, schema_of: dict[Any, Any]) -> dict[str, Any]:
    """Return the OpenAPI description of one operation."""
    answers: dict[str, Any] = {}
    if operation.answer is not None:
        answers[operation.answer_type] = {"schema": schema_of[operation.answer]}
    if operation.stream is not None:
        kind = dialect.stream_type.partition(";")[0]
        value = {"anyOf": [schema_of[operation.stream], schema_of[operation.error]]}
        item = event(value, operation.stream_end) if kind == SSE else value
        answers[kind] = {"itemSchema": {"description": operation.stream_note} | item}
    found: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [dialect.name],
        "security": [{}, {"bearer": []}, {"header": []}] if operation.needs_key else [],
        "responses": {"200": {"description": "OK", "content": answers}},
    }
    for status in operation.errors:
        content = {"application/json": {"schema": schema_of[operation.error]}}
        found["responses"][str(status)] = {"description": phrase(status), "content": content}
    if operation.body is not None:
        content = {"application/json": {"schema": schema_of[operation.body]}}
        found["requestBody"] = {"required": True, "content": content}
    if names := re.findall(r"{(\w+)}", operation.path):
        found["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
        ]
    return found


def event(value: dict[str, Any], end: str | None) -> dict[str, Any]:
    """Return the schema of a server-sent event whose data is `value` as JSON, or the text `end`."""
    forms: list[dict[str, Any]] = [{"contentMediaType": "application/json", "contentSchema": value}]
    if end is not None:
        forms.insert(0, {"const": end})
    return {
        "type": "object",
        "properties": {"event": {"type": "string"}, "data": {"type": "string", "anyOf": forms}},
        "required": ["data"],
    }


def phrase(status: int) -> str:
    """Return the name of an HTTP status. The standard lacks 499, which is nginx's, and 529, which is Anthropic's."""
    return {499: "Client Closed Request", 529: "Overloaded"}.get(status) or HTTPStatus(status).phrase

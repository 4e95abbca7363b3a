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
EVENT_SCHEMA = "x-event-schema"
"""Key beside a stream's schema: the schema of the JSON in each of its events. OpenAPI 3.1 has no word for it."""
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
        "openapi": "3.1.0",
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
        answers["application/json"] = {"schema": schema_of[operation.answer]}
    if operation.stream is not None:
        answers[dialect.stream_type.partition(";")[0]] = {
            "schema": {"type": "string", "description": operation.stream_note},
            EVENT_SCHEMA: schema_of[operation.stream],
        }
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


def phrase(status: int) -> str:
    """Return the name of an HTTP status. The standard lacks 499, which is nginx's, and 529, which is Anthropic's."""
    return {499: "Client Closed Request", 529: "Overloaded"}.get(status) or HTTPStatus(status).phrase

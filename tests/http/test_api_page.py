"""docs/api.md names every route, and every field that a body of the dialects translates."""

import re
from pathlib import Path

import msgspec
import pytest

from lmx_daemon.http.dialects.registry import public_dialects
from lmx_daemon.http.operation import Operation

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
NAMES = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", PAGE))))
"""Words in code of the page."""
OPERATIONS = [operation for dialect in public_dialects().all for operation in dialect.operations()]
BODIES = {operation.body for operation in OPERATIONS if operation.body is not None}


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_route_is_named(operation: Operation) -> None:
    words = set(re.findall(r"\w+", re.sub(r"\{\w+\}", "", operation.path)))
    assert words <= NAMES, operation.path


@pytest.mark.parametrize("body", sorted(BODIES, key=lambda body: body.__name__), ids=lambda body: body.__name__)
def test_every_field_of_a_body_is_named(body: type) -> None:
    assert {field.encode_name for field in msgspec.structs.fields(body)} - NAMES == set()

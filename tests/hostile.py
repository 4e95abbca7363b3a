"""Wrong values for the keys of a JSON file of a model, one at a time."""

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

PYTHON_NAME = re.compile(r"\b\w*(?:Error|Exception|Warning)\b|object has no attribute|unhashable|NoneType|<class")
"""Texts of Python exceptions, which no error for a user contains."""


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


GONE = object()
"""Stands for a key that is missing."""
VALUES: tuple[Any, ...] = (
    GONE, None, True, -1, 0, 1.5, 1e30, 2**70, float("nan"), float("inf"), "", "x\ny", "64", [], [None], [[1]], {},
    {"a": []}, _nested(150),
)  # fmt: skip


def mutations(config: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each config that differs from `config` in one value, with a name for it. Inner objects are included."""
    part = config
    for key in path:
        part = part[key]
    for key, value in part.items():
        for wrong in VALUES:
            changed = copy.deepcopy(config)
            inner = changed
            for step in path:
                inner = inner[step]
            if wrong is GONE:
                del inner[key]
            else:
                inner[key] = wrong
            shown = "missing" if wrong is GONE else json.dumps(wrong)[:20]
            yield f"{'.'.join((*path, key))}={shown}", changed
        if isinstance(value, dict):
            yield from mutations(config, (*path, key))

"""Merges of values into the text of a TOML or JSON file. Everything else in the file is kept.

TOML keeps its comments and its layout. JSON keeps its order, and is written with the indentation that it has. A result
is compared with the merge of the plain values, so that a file is refused rather than damaged.
"""

import json
import re
import tomllib
from collections.abc import Mapping
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from lmx_cli.launch.target import Form
from lmx_daemon.contract.errors import ConfigError

INDENT = re.compile(r"\n([ \t]+)\S")
ConfigValues = Mapping[str, Any]


def merged(form: Form, text: str, values: ConfigValues, name: str) -> str:
    """Return `text` with `values` in it; tables are merged, other values replaced. "" is a missing file.

    Raises ConfigError, whose hint is the text to paste, if the file cannot be changed safely. `name` is its path.
    """
    try:
        result = _merged_toml(text, values) if form == "toml" else _merged_json(text, values)
    except (ValueError, TOMLKitError, RecursionError) as error:  # tomllib's and json's errors are ValueErrors
        raise ConfigError(f"{name} was not changed: {error}", hint=f"add this to it:\n{pasted(form, values)}") from None
    return result


def pasted(form: Form, values: ConfigValues) -> str:
    """Return `values` as text that a user can add to the file."""
    return tomlkit.dumps(values).rstrip() if form == "toml" else json.dumps(values, indent=2, ensure_ascii=False)


def combined(old: ConfigValues, new: ConfigValues, path: str = "") -> dict[str, Any]:
    """Return the merge of plain values. Raises ValueError if a value of `old` is where `new` has a table."""
    result = dict(old)
    for key, value in new.items():
        place = f"{path}.{key}" if path else key
        if isinstance(value, Mapping):
            before = result.get(key, {})
            if not isinstance(before, Mapping):
                raise ValueError(f"{place} is not a table")
            result[key] = combined(before, value, place)
        else:
            result[key] = value
    return result


def _merged_toml(text: str, values: ConfigValues) -> str:
    expected = combined(tomllib.loads(text), values)
    document = tomlkit.parse(text)
    _set(document, values)
    result = tomlkit.dumps(document)
    if tomllib.loads(result) != expected:
        raise ValueError("its tables cannot be merged without a change of other values")
    return result


def _set(table: Any, values: ConfigValues) -> None:
    """Set `values` in a table of tomlkit."""
    for key, value in values.items():
        if not isinstance(value, Mapping):
            table[key] = value
            continue
        if key not in table:
            only_tables = all(isinstance(each, Mapping) for each in value.values())
            table[key] = tomlkit.table(is_super_table=only_tables)
        _set(table[key], value)


def _merged_json(text: str, values: ConfigValues) -> str:
    text = text.removeprefix("\ufeff")
    try:
        old = json.loads(text, object_pairs_hook=_unique) if text.strip() else {}
    except json.JSONDecodeError as error:
        raise ValueError(f"it has comments or is not valid JSON ({error})") from None
    if not isinstance(old, dict):
        raise ValueError("it is not a JSON object")
    new = combined(old, values)
    if new == old:
        return text
    found = INDENT.search(text)
    indent = found[1] if found else "  "
    return json.dumps(new, indent=indent, ensure_ascii=False) + ("" if text and not text.endswith("\n") else "\n")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON. Raises ValueError for a key that occurs twice, since one value would be lost."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} occurs twice")
    return found

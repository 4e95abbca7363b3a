"""The key of a config.json at which a load failed, found from the types that mlx-lm's classes declare.

A config is compared with these types only after a load has failed: configs of working models deviate from them too.
"""

import dataclasses
import importlib
import json
import re
import typing
from collections.abc import Iterator, Mapping
from types import ModuleType, NoneType, UnionType
from typing import Any

from mlx_lm.utils import _get_classes

from lmx_daemon.memory.architectures import language_part
from lmx_daemon.memory.bounds import NESTED, absurd, wrong_value

MISSING = re.compile(r"missing \d+ required positional arguments?: (.*)")
QUOTED = re.compile(r"'(\w{1,100})'")
FIELD = re.compile(r"field '(\w{1,100})'")
"""Part of the messages of transformers about a field of a config."""
WORDS = {int: "an integer", float: "a number", str: "a string", bool: "true or false", NoneType: "null"}
Fields = Mapping[str, Any]
"""Declared types by the names of keys."""
ROPE: Fields = {"factor": float, "rope_theta": float, "type": str, "rope_type": str,
                "original_max_position_embeddings": int}  # fmt: skip
QUANTIZATION: Fields = {"group_size": int, "bits": int, "mode": str, "quant_method": str}
COMMON: Fields = {
    "model_type": str,
    "architectures": list[str] | None,
    "eos_token_id": int | list[int] | None,
    "quantization": dict | None,
    "quantization_config": dict | None,
    "rope_scaling": dict | None,
    "rope_parameters": dict | None,
    "tie_word_embeddings": bool | None,
}
"""Types of keys that mlx-lm reads for every architecture."""
INNER: Mapping[str, Fields] = {
    "rope_scaling": ROPE, "rope_parameters": ROPE, "quantization": QUANTIZATION, "quantization_config": QUANTIZATION,
}  # fmt: skip


def config_fault(error: BaseException, config: Mapping[str, Any]) -> str | None:
    """Return a line about the key of the config that made a load fail with `error`, or None if it is unknown."""
    if (found := absurd(config)) is not None:
        return found
    if missing := MISSING.search(str(error)):
        return f"config.json: {' and '.join(QUOTED.findall(missing[1])[:5])} is missing"
    if "model_type" not in config:
        return "config.json: model_type is missing"
    for prefix, part, fields in _parts(config):
        if (found := _wrong_type(prefix, part, fields)) is not None:
            return found
    if _classes(config) is None and "model_file" not in config:
        return f"config.json: model_type {json.dumps(config['model_type'])[:100]} is not supported by mlx-lm"
    return _named_key(error, config)


def _parts(config: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], Fields]]:
    """Yield each part of the config with the prefix of its keys and their types."""
    classes = _classes(config)
    for name in ("", *NESTED):
        prefix, part = (f"{name}.", config.get(name)) if name else ("", config)
        if not isinstance(part, Mapping):
            continue
        yield prefix, part, COMMON
        for inner, fields in INNER.items():
            if isinstance(held := part.get(inner), Mapping):
                yield f"{prefix}{inner}.", held, fields
        if classes is not None:
            arguments = _inner_arguments(classes[0], config) if name else classes[1]
            yield prefix, part, _fields(arguments)


def _classes(config: Mapping[str, Any]) -> tuple[ModuleType, Any] | None:
    """Return mlx-lm's module of the architecture and its class of arguments, or None if there is none."""
    try:
        model, arguments = _get_classes(dict(config))
        return importlib.import_module(model.__module__), arguments
    except Exception:  # names from foreign files lead anywhere in mlx-lm
        return None


def _inner_arguments(module: ModuleType, config: Mapping[str, Any]) -> Any:
    """Return the class of arguments of the language model inside a multimodal one, or None if it is unknown."""
    own = [one for name, one in vars(module).items() if name.startswith("Text") and dataclasses.is_dataclass(one)]
    if own:
        return own[0]
    found = _classes({"model_type": language_part(config)[0]})
    return found[1] if found else None


def _fields(arguments: Any) -> Fields:
    """Return the declared types of a dataclass. A field whose default is null may be null."""
    if not dataclasses.is_dataclass(arguments):
        return {}
    try:
        hints = typing.get_type_hints(arguments)
    except Exception:  # an annotation that does not exist at run time
        return {}
    return {
        field.name: hints[field.name] | None if field.default is None else hints[field.name]
        for field in dataclasses.fields(arguments)
        if isinstance(hints.get(field.name), type | UnionType) or typing.get_origin(hints.get(field.name))
    }


def _wrong_type(prefix: str, part: Mapping[str, Any], fields: Fields) -> str | None:
    for name, kind in fields.items():
        if name in part and not fits(part[name], kind):
            return wrong_value(f"{prefix}{name}", words_of(kind), part[name])
    return None


def fits(value: Any, kind: Any) -> bool:
    """Return whether a value of a config has a declared type. Values inside of objects are not compared."""
    origin, inner = typing.get_origin(kind) or kind, typing.get_args(kind)
    if origin in (typing.Union, UnionType):
        return any(fits(value, one) for one in inner)
    if origin in (int, str, bool, NoneType):
        return type(value) is origin
    if origin is float:
        return type(value) in (int, float)
    if origin is list:
        return isinstance(value, list) and all(fits(one, inner[0]) for one in value if inner)
    if origin is dict or dataclasses.is_dataclass(origin):
        return isinstance(value, dict)
    return True


def words_of(kind: Any) -> str:
    """Return the words for a declared type: "an integer", "a list of strings or null"."""
    origin, inner = typing.get_origin(kind) or kind, typing.get_args(kind)
    if origin in (typing.Union, UnionType):
        return " or ".join(dict.fromkeys(words_of(one) for one in inner))
    if origin is list:
        element = words_of(inner[0]).partition(" ")[2] if inner else ""
        return f"a list of {element}s" if element in ("integer", "number", "string") else "a list"
    return WORDS.get(origin, "an object")


def number_fault(error: BaseException, config: Mapping[str, Any]) -> str | None:
    """Return a line about a 0 after a division by it, else about a negative number where a size belongs."""
    divided = isinstance(error, ZeroDivisionError)
    for prefix, part, fields in _parts(config):
        for name, kind in fields.items():
            value: Any = part.get(name)
            sized = type(value) in (int, float) and not name.endswith("_id") and fits(value, kind)
            if sized and (value == 0 if divided else value < 0):
                return wrong_value(f"{prefix}{name}", "a number above 0" if divided else "a number of 0 or more", value)
    return None


def _named_key(error: BaseException, config: Mapping[str, Any]) -> str | None:
    """Return a line about the key that the error names."""
    if isinstance(error, KeyError) and error.args and isinstance(name := error.args[0], str) and name.isidentifier():
        return f"config.json: {name[:100]} is missing"
    if (field := FIELD.search(str(error))) and field[1] in config:
        return f"config.json: {field[1]} has a wrong type or value: {json.dumps(config[field[1]])[:40]}"
    return None

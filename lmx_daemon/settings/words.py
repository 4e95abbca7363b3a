"""Types of settings in words: "integer from 0 to 65535", `"auto", "off" or integer`."""

from typing import Any

from msgspec import inspect

WORDS = {
    inspect.BoolType: ("boolean", "true or false", "booleans"),
    inspect.IntType: ("integer", "an integer", "integers"),
    inspect.FloatType: ("number", "a number", "numbers"),
    inspect.StrType: ("text", "a text", "texts"),
    inspect.AnyType: ("value", "a value", "values"),
}
"""Type -> its name, its name in a sentence, its plural."""
LIST = ("list of ", "a list of ", "lists of ")
TABLE = ("table of ", "a table of ", "tables of ")
COLLECTIONS = (inspect.VarTupleType, inspect.ListType, inspect.SetType, inspect.FrozenSetType)


def name_of(annotation: Any) -> str:
    """Return the type as a table shows it: "list of texts"."""
    return _joined(_alternatives(inspect.type_info(annotation), form=0))


def phrase_of(annotation: Any) -> str:
    """Return the type as a sentence continues "must be": "a list of texts"."""
    return _joined(_alternatives(inspect.type_info(annotation), form=1))


def choices_of(annotation: Any) -> tuple[str, ...]:
    """Return the texts that a value may be; empty if other values are allowed as well."""
    found = _plain(inspect.type_info(annotation))
    return tuple(map(str, found.values)) if isinstance(found, inspect.LiteralType) else ()


def is_text(annotation: Any) -> bool:
    """Return whether every text is of this type."""
    return _has(inspect.type_info(annotation), inspect.StrType)


def is_list(annotation: Any) -> bool:
    """Return whether a list can be of this type."""
    return any(_has(inspect.type_info(annotation), kind) for kind in COLLECTIONS)


def _has(found: inspect.Type, kind: type[inspect.Type]) -> bool:
    found = _plain(found)
    if isinstance(found, inspect.UnionType):
        return any(_has(one, kind) for one in found.types)
    return isinstance(found, kind)


def _plain(found: inspect.Type) -> inspect.Type:
    """Return the type without its metadata, and without None."""
    if isinstance(found, inspect.Metadata):
        return _plain(found.type)
    if isinstance(found, inspect.UnionType):
        others = [one for one in found.types if not isinstance(one, inspect.NoneType)]
        return _plain(others[0]) if len(others) == 1 else found
    return found


def _joined(alternatives: list[str]) -> str:
    *others, last = alternatives
    return f"{', '.join(others)} or {last}" if others else last


def _alternatives(found: inspect.Type, form: int) -> list[str]:
    """Return the types that a value may have, in words; None, which stands for an unset key, is left out."""
    match found:
        case inspect.Metadata(type=inner):
            return _alternatives(inner, form)
        case inspect.UnionType(types=types):
            return [word for one in types for word in _alternatives(one, form)]
        case inspect.LiteralType(values=values):
            return [f'"{value}"' for value in values]
        case inspect.NoneType():
            return []
        case inspect.IntType() | inspect.FloatType():
            return [WORDS[type(found)][form] + _range(found)]
        case inspect.BoolType() | inspect.StrType() | inspect.AnyType():
            return [WORDS[type(found)][form]]
        case inspect.VarTupleType(item_type=item) | inspect.ListType(item_type=item):
            return [LIST[form] + _joined(_alternatives(item, 2))]
        case inspect.DictType(value_type=value):
            return [
                ("", "a ", "")[form] + ("tables of " if form == 2 else "table of ") + _joined(_alternatives(value, 2))
            ]
        case inspect.StructType():
            return [("table", "a table", "tables")[form]]
    raise TypeError(f"a settings key of type {found!r} has no words")


def _range(found: inspect.IntType | inspect.FloatType) -> str:
    """Return the bounds of a number in words, with a space in front; empty if there are none."""
    if found.ge is not None and found.le is not None:
        return f" from {found.ge:g} to {found.le:g}" if abs(found.le) < 1e6 else f" of at least {found.ge:g}"
    if found.gt is not None:
        limit = found.le if found.le is not None and found.le < 1e6 else None
        return f" above {found.gt:g}" + (f", at most {limit:g}" if limit is not None else "")
    if found.ge is not None:
        return f" of at least {found.ge:g}"
    return f" of at most {found.le:g}" if found.le is not None else ""

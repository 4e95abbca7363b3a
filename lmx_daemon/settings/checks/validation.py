"""SettingValues of settings, checked: a decoded TOML document to typed values, and every fault in it. Pure."""

from typing import Any

import msgspec

from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.settings.checks.faults import Fault, not_a_table, unknown_key, unknown_section, wrong_value
from lmx_daemon.settings.keys import Key, sections
from lmx_daemon.settings.schema import Settings

FORMAT = 1
"""Version of the file's form. A file states another one by the key `version` at its top."""
SettingValues = dict[str, dict[str, Any]]
"""Section -> key -> value; for a section of named tables, section -> name -> table of values."""


class Checked(Frozen, frozen=True):
    """Values that a document sets, and its faults."""

    values: SettingValues
    faults: tuple[Fault, ...] = ()


def check_document(document: dict[str, Any]) -> Checked:
    """Return the typed values of a document, and all of its faults."""
    values: SettingValues = {}
    faults: list[Fault] = []
    known = sections()
    for name, table in document.items():
        if name == "version":
            faults += check_version(table)
        elif name not in known:
            faults.append(unknown_section(name, table))
        elif not isinstance(table, dict):
            faults.append(not_a_table((name,), table))
        elif next(iter(known[name].values())).named:
            values[name] = {each: _check_table(name, (name, each), found, faults) for each, found in table.items()}
        else:
            values[name] = _check_table(name, (name,), table, faults)
    return Checked(values=values, faults=tuple(faults))


def check_version(value: Any) -> list[Fault]:
    """Return the fault of a file of another format."""
    if value == FORMAT and not isinstance(value, bool):
        return []
    if isinstance(value, int) and value > FORMAT:
        message = f"the file has format {value}, and this version of lmx reads format {FORMAT}"
        return [Fault(path=("version",), message=message, hint="upgrade lmx, or move the file away")]
    return [Fault(path=("version",), message=f"version must be {FORMAT}", hint="remove the line")]


def check_value(key: Key, place: tuple[str, ...], value: Any) -> tuple[Any, Fault | None]:
    """Return the typed value and None, or None and the fault."""
    try:
        if key.check is not None:
            typed = msgspec.convert(value, key.annotation)
            key.check(typed)
            return typed, None
        return msgspec.convert(value, key.annotation), None
    except msgspec.ValidationError:
        return None, wrong_value(key, place, value)
    except ValueError as error:
        return None, wrong_value(key, place, value, str(error))


def settings_of(values: SettingValues) -> Settings:
    """Return the settings with defaults for all other keys. The values were checked before."""
    return msgspec.convert(values, Settings)


def _check_table(section: str, place: tuple[str, ...], table: Any, faults: list[Fault]) -> dict[str, Any]:
    """Return the typed values of a table, and add its faults to `faults`."""
    if not isinstance(table, dict):
        faults.append(not_a_table(place, table))
        return {}
    known, values = sections()[section], {}
    for name, value in table.items():
        if name not in known:
            faults.append(unknown_key(section, name, (*place, name)))
            continue
        typed, fault = check_value(known[name], (*place, name), value)
        if fault is None:
            values[name] = typed
        else:
            faults.append(fault)
    return values

"""The files of presets, read when they have changed and written durably. A faulty file affects its preset only."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from lmx_daemon.contract.errors import ConflictError, NotFoundError, RequestError
from lmx_daemon.contract.generation.preset import PRESET_NAME, Preset, PresetRow, tables_of
from lmx_daemon.library.catalog.model_names import nearest_names
from lmx_daemon.router.preset_faults import bad_value, fault_of, unknown_key
from lmx_daemon.storage.durable import read_regular, sync_folder
from lmx_daemon.storage.failed_write import failed_write
from lmx_daemon.storage.foreign.toml import parsed_toml
from lmx_daemon.storage.state import write_state

SUFFIX = ".toml"
MAX_BYTES = 1024 * 1024
MAX_PRESETS = 1000
"""Number of files that are read; further ones, by name, are not listed."""
Version = tuple[int, int]
"""Time of the last change of a file, and its size."""


class PresetFiles:
    """The presets in one folder. All methods but `known` are blocking."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rows: dict[str, tuple[Version, PresetRow]] = {}
        self.known: Mapping[str, PresetRow] = {}
        """The presets of the last `refresh`."""

    def refresh(self) -> Mapping[str, PresetRow]:
        """Read changed files, and return all presets by name."""
        found: dict[str, tuple[Version, PresetRow]] = {}
        for name in self._names():
            with suppress(OSError):
                state = os.stat(self._file(name))
                version = (state.st_mtime_ns, state.st_size)
                before = self._rows.get(name)
                found[name] = before if before is not None and before[0] == version else (version, self._read(name))
        self._rows = found
        self.known = {name: row for name, (_, row) in found.items()}
        return self.known

    def get(self, name: str) -> Preset:
        """Return a preset. Raise NotFoundError, or RequestError if its file has a problem."""
        return usable(name, self.refresh())

    def change(self, name: str, values: Mapping[str, Any]) -> PresetRow:
        """Set keys of a preset, or remove those whose value is None; comments of the file stay.

        Raise RequestError for a wrong key or value, ConflictError for a file with a problem, DiskError.
        """
        import tomlkit  # imported late: only changes need it, and its import delays the start of the daemon

        self._check_name(name)
        row = self.refresh().get(name)
        if row is not None and row.problem is not None:
            raise ConflictError(
                f"the preset {name} has a problem: {row.problem}", hint=f"correct {self._file(name)}, or remove it"
            )
        document = tomlkit.parse(self._text(name)) if row is not None else tomlkit.document()
        for key, value in values.items():
            _put(document, key.split("."), value, key)
            if value is not None and (fault := bad_value(key, value)) is not None:
                raise fault
        try:
            preset = msgspec.convert(parsed_toml(tomlkit.dumps(document)), Preset)
        except msgspec.ValidationError as error:
            raise RequestError(f"preset {name}: {error}") from None
        self._write(name, tomlkit.dumps(document))
        return PresetRow(name=name, preset=preset)

    def add(self, name: str, preset: Preset, *, replace: bool) -> PresetRow:
        """Write a preset. Raise ConflictError if there is one of this name and `replace` is not set, or DiskError."""
        import tomlkit  # imported late, as in `change`

        self._check_name(name)
        if not replace and self._file(name).exists():
            raise ConflictError(f"there is a preset {name} already", hint="give another name, or --replace")
        self._write(name, tomlkit.dumps(tables_of(preset)))
        return PresetRow(name=name, preset=preset)

    def remove(self, name: str) -> PresetRow:
        """Delete a preset. Raise NotFoundError, DiskError."""
        row = self.refresh().get(name)
        if row is None:
            raise no_preset(name, self.known)
        try:
            self._file(name).unlink()
            sync_folder(self._folder)
        except OSError as error:
            raise failed_write(f"the preset {name} was not removed", self._file(name), error) from error
        return row

    def _names(self) -> list[str]:
        try:
            files = [file for file in os.listdir(self._folder) if file.endswith(SUFFIX)]
        except OSError:
            return []
        names = sorted(file.removesuffix(SUFFIX) for file in files)
        return [name for name in names if PRESET_NAME.fullmatch(name)][:MAX_PRESETS]

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}{SUFFIX}"

    def _text(self, name: str) -> str:
        return read_regular(self._file(name), MAX_BYTES).decode()

    def _read(self, name: str) -> PresetRow:
        try:
            tables = parsed_toml(self._text(name))
            if (fault := fault_of(tables)) is not None:
                return PresetRow(name=name, problem=fault.message)
            return PresetRow(name=name, preset=msgspec.convert(tables, Preset))
        except OSError as error:
            return PresetRow(name=name, problem=f"cannot be read: {error.strerror or error}")
        except RecursionError:
            return PresetRow(name=name, problem="is nested too deeply")
        except ValueError as error:  # the errors of msgspec, tomllib and of decoding are of this kind
            return PresetRow(name=name, problem=str(error)[:200])

    def _write(self, name: str, text: str) -> None:
        try:
            write_state(self._file(name), text.encode())
        except OSError as error:
            raise failed_write(f"the preset {name} was not written", self._file(name), error) from error

    def _check_name(self, name: str) -> None:
        if not PRESET_NAME.fullmatch(name):
            raise RequestError(
                f"{name[:100]!r} cannot be the name of a preset",
                hint="letters, digits, '.', '_' and '-', 64 at most, a letter or digit first",
                param="name",
            )


def usable(name: str, rows: Mapping[str, PresetRow]) -> Preset:
    """Return the preset of this name. Raise NotFoundError, or RequestError if its file has a problem."""
    row = rows.get(name)
    if row is None:
        raise no_preset(name, rows)
    if row.preset is None:
        raise RequestError(f"the preset {name} cannot be used: {row.problem}", param="preset")
    return row.preset


def no_preset(name: str, known: Mapping[str, PresetRow]) -> NotFoundError:
    """Return the error for an unknown preset."""
    near = nearest_names(name, list(known))
    listed = f"; similar names: {', '.join(near)}" if near else ""
    return NotFoundError(
        f"there is no preset {name[:100]!r}{listed}", hint="`lmx preset list` lists the presets", param="preset"
    )


def _put(table: Any, path: list[str], value: Any, key: str) -> None:
    """Set a value of a TOML document, or remove it if it is None. Raise RequestError for an unknown key."""
    if (fault := unknown_key(key)) is not None:
        raise fault
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    *tables, last = path
    for name in tables:
        if name not in table:
            if value is None:
                return
            table[name] = tomlkit.table()
        table = table[name]
    if value is None:
        table.pop(last, None)
        return
    try:
        table[last] = value
    except (TOMLKitError, ValueError, TypeError) as error:
        raise RequestError(f"{key}: {error}") from None

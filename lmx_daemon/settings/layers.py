"""The layers of settings: default, file, environment, flag. A later layer overrides an earlier one."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from lmx_daemon.contract.errors import ConfigError
from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.settings.checks.faults import dotted, nearest
from lmx_daemon.settings.checks.validation import SettingValues, check_value, settings_of
from lmx_daemon.settings.checks.values import value_of
from lmx_daemon.settings.config_file import ConfigText, read_config
from lmx_daemon.settings.keys import Key, keys_by_path, sections
from lmx_daemon.settings.paths import Home
from lmx_daemon.settings.positions import nearest_line
from lmx_daemon.settings.schema import Settings

Layer = Literal["default", "file", "environment", "flag"]


class Origin(Frozen, frozen=True):
    """The layer that a value comes from."""

    layer: Layer = "default"
    place: str = ""
    """Line, variable or flag: "line 3", "LMX_SERVER_PORT", "--port"."""


class Layers(Frozen, frozen=True):
    """Settings with the origin of each value, by its dotted name; a value without an entry is a default."""

    settings: Settings = Settings()
    origins: dict[str, Origin] = {}
    notes: tuple[str, ...] = ()
    """Remarks on the environment: variables that look like settings and are not."""

    def origin(self, path: str) -> Origin:
        """Return the origin of the value of a key."""
        return self.origins.get(path, Origin())


def read_settings(home: Home) -> Settings:
    """Return the settings in force for this process. Raises ConfigError."""
    return read_layers(home.config, os.environ).settings


def read_layers(file: Path, environ: Mapping[str, str], flags: Mapping[str, Any] | None = None) -> Layers:
    """Return the settings in force for a process. `flags` are values by dotted names. Raises ConfigError."""
    return layered(read_config(file), environ, flags)


def layered(config: ConfigText, environ: Mapping[str, str], flags: Mapping[str, Any] | None = None) -> Layers:
    """Return the settings of a file, overridden by variables and flags. Raises ConfigError."""
    values: SettingValues = {section: dict(table) for section, table in config.values.items()}
    origins = _origins_of(config)
    for key in keys_by_path().values():
        if text := environ.get(key.variable):
            value, fault = value_of(key, (key.section, key.name), text)
            if fault is not None:
                raise ConfigError(f"{key.variable}: {fault.message}", hint=f"correct or unset {key.variable}")
            _put(values, key, value)
            origins[key.path] = Origin(layer="environment", place=key.variable)
    for path, value in (flags or {}).items():
        key, flag = keys_by_path()[path], f"--{path.rpartition('.')[2].replace('_', '-')}"
        value, fault = check_value(key, (key.section, key.name), value)
        if fault is not None:
            raise ConfigError(f"{flag}: {fault.message}")
        _put(values, key, value)
        origins[path] = Origin(layer="flag", place=flag)
    return Layers(settings=settings_of(values), origins=origins, notes=tuple(_notes(environ)))


def _put(values: SettingValues, key: Key, value: Any) -> None:
    values.setdefault(key.section, {})[key.name] = value


def _origins_of(config: ConfigText) -> dict[str, Origin]:
    """Return the origin of each value of the file."""
    found, lines = {}, config.lines()
    for section, table in config.values.items():
        named = next(iter(sections()[section].values())).named
        for name, value in table.items():
            for path in [(section, name, each) for each in value] if named else [(section, name)]:
                line = nearest_line(lines, path)
                found[dotted_key(*path)] = Origin(layer="file", place=f"line {line}")
    return found


def dotted_key(section: str, *rest: str) -> str:
    """Return the dotted name of a key: `models."org/name".ttl`, whose table is always quoted."""
    return f'{section}."{rest[0]}".{rest[1]}' if len(rest) > 1 else dotted((section, *rest))


def _notes(environ: Mapping[str, str]) -> list[str]:
    """Return a remark for each variable with the prefix of a section that names no key."""
    variables = {key.variable for key in keys_by_path().values()}
    prefixes = tuple(f"LMX_{section}_".upper() for section in sections())
    unknown = sorted(name for name in environ if name.startswith(prefixes) and name not in variables)
    return [
        f"{name} is not a setting" + (f"; {hint}" if (hint := nearest(name, variables)) else "") for name in unknown
    ]

"""Reading of config.toml. A missing file sets nothing; a fault in it is a ConfigError that names the line.

The file is read as a whole: one fault refuses all of it, so that no setting is in force by accident.
"""

from pathlib import Path

from lmx_daemon.contract.errors import ConfigError
from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.settings.checks.faults import Fault, broken_toml
from lmx_daemon.settings.checks.validation import SettingValues, check_document
from lmx_daemon.settings.positions import lines_of, nearest_line
from lmx_daemon.storage.durable import read_regular
from lmx_daemon.storage.foreign.toml import parsed_toml

MAX_CONFIG_BYTES = 1024 * 1024


class ConfigText(Frozen, frozen=True):
    """A config file as it was read: its text, and the checked values in it."""

    text: str = ""
    values: SettingValues = {}

    def lines(self) -> dict[tuple[str, ...], int]:
        """Return the line of each key and table, by its path."""
        return lines_of(self.text)


def read_config(file: Path) -> ConfigText:
    """Return the content of a config file, empty if there is none. Raises ConfigError."""
    return parse_config(content_of(file), file)


def content_of(file: Path) -> bytes:
    """Return the bytes of a config file, which may have faults; empty if there is none. Raises ConfigError."""
    try:
        return read_regular(file, MAX_CONFIG_BYTES, follow=True)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror or error}", hint="move it away") from error


def parse_config(content: bytes, file: Path) -> ConfigText:
    """Return the checked content of `file`. Raises ConfigError that names the line."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        message = f"{file}, line {line}: byte {content[error.start]:#04x} is not UTF-8"
        raise ConfigError(message, hint="save the file as UTF-8, or move it away") from None
    try:
        document = parsed_toml(text)
    except RecursionError:
        raise ConfigError(f"{file} is nested too deeply", hint="correct it, or move the file away") from None
    except ValueError as error:  # TOMLDecodeError is of this kind
        message, hint = broken_toml(text, error)
        raise ConfigError(f"{file}, {message}", hint=hint) from None
    checked = check_document(document)
    if checked.faults:
        raise _error(file, text, checked.faults)
    return ConfigText(text=text, values=checked.values)


def _error(file: Path, text: str, faults: tuple[Fault, ...]) -> ConfigError:
    """Return the error of the first fault in the file, which counts the others."""
    lines = lines_of(text)
    placed = sorted(((nearest_line(lines, fault.path) or 0, fault) for fault in faults), key=lambda each: each[0])
    line, first = placed[0]
    place = f"{file}, line {line}" if line else str(file)
    others = ", ".join(str(line) for line, _ in placed[1:4])
    more = f" ({len(placed) - 1} more: line {others})" if len(placed) > 1 else ""
    return ConfigError(f"{place}: {first.message}{more}", hint=first.hint or "correct it, or move the file away")

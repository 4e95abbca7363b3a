"""Reading of config.toml. A missing file gives the defaults; an error in it is a ConfigError that names the field.

Command-line flags and LMX_* variables win over the file; the file wins over the defaults of schema.py.
"""

import tomllib

import msgspec

from lmx_daemon.contract.errors import ConfigError
from lmx_daemon.settings.paths import Home
from lmx_daemon.settings.schema import Settings
from lmx_daemon.storage.durable import read_regular

MAX_CONFIG_BYTES = 1024 * 1024


def read_settings(home: Home) -> Settings:
    """Return the settings of config.toml, or the defaults if there is none.

    Raises ConfigError that names file and field.
    """
    try:
        text = read_regular(home.config, MAX_CONFIG_BYTES, follow=True)
    except FileNotFoundError:
        return Settings()
    except OSError as error:
        raise ConfigError(f"cannot read {home.config}: {error.strerror or error}", hint="move it away") from error
    try:
        return msgspec.convert(tomllib.loads(text.decode()), Settings)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{home.config}: {error}", hint="see README.md, Settings, for names and values") from error
    except RecursionError:
        raise ConfigError(f"{home.config} is nested too deeply", hint="correct it, or move the file away") from None
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError are of this kind
        reason = str(error)[:200]
        raise ConfigError(f"{home.config} is not TOML: {reason}", hint="correct it, or move the file away") from error

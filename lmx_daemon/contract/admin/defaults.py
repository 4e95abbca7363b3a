"""Default values of request fields."""

from typing import Literal

from lmx_daemon.contract.frozen import Frozen

DefaultOrigin = Literal["preset", "settings", "model", "lmx"]
"""Origin of a default: a preset, a table [models."ORG/NAME"], the model's generation_config.json, or lmx itself."""


class DefaultValue(Frozen, frozen=True):
    """The default of one field."""

    value: bool | int | float | str
    origin: DefaultOrigin


class RequestDefaults(Frozen, frozen=True):
    """The defaults of requests for a model, with or without a preset."""

    model: str
    values: dict[str, DefaultValue] = {}
    """Field -> default. A field without a fixed default is missing."""

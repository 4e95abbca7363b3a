"""The defaults of requests for a model, in the order in which they are applied: preset, settings, model, lmx. Pure."""

from typing import Any

from lmx_daemon.contract.admin.defaults import DefaultOrigin, DefaultValue
from lmx_daemon.contract.generation.preset import Preset
from lmx_daemon.contract.generation.sampling_defaults import NEUTRAL, own_default
from lmx_daemon.settings.schema import ModelSettings

SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty")
PENALTIES = {"repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
"""Penalties -> the value that is off. Those of generation_config.json are not used."""


def defaults_of(preset: Preset | None, own: ModelSettings, generation: dict[str, Any]) -> dict[str, DefaultValue]:
    """Return the defaults by field: sampling, `max_tokens`, `thinking`, `seed`, `system` and `stop`."""
    layers: list[tuple[DefaultOrigin, dict[str, Any]]] = [
        ("preset", {} if preset is None else _of_preset(preset)),
        ("settings", {name: getattr(own, name) for name in (*SAMPLING, "max_tokens", "thinking")}),
        ("model", {name: own_default(name, generation) for name in NEUTRAL}),
        ("lmx", NEUTRAL | PENALTIES),
    ]
    found: dict[str, DefaultValue] = {}
    for origin, values in layers:
        for name, value in values.items():
            if value is not None and name not in found:
                found[name] = DefaultValue(value=value, origin=origin)
    return found


def _of_preset(preset: Preset) -> dict[str, Any]:
    values = {name: getattr(preset.sampling, name) for name in (*SAMPLING, "seed")}
    texts = {"system": preset.system or None, "stop": ", ".join(preset.stop) or None}
    return values | texts | {"max_tokens": preset.max_tokens, "thinking": preset.thinking}

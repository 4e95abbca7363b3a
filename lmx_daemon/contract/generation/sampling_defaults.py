"""Default values of sampling fields: those of generation_config.json, else neutral ones."""

from typing import Any

MAX_DEFAULT = 1e9
"""Magnitude above which a default from a model's files is ignored; the files may contain any number, even infinity."""
NEUTRAL = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0}
"""Sampling field that generation_config.json can set -> its neutral value, which has no effect."""


def own_default(name: str, generation: dict[str, Any]) -> float | None:
    """Return the value of a field in a model's generation_config.json; None if there is no usable value."""
    value = generation.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_DEFAULT:
        return value
    if name == "temperature" and generation.get("do_sample") is False:
        return 0.0
    return None


def default_of(name: str, generation: dict[str, Any]) -> float:
    """Return the default of a field of NEUTRAL."""
    own = own_default(name, generation)
    return NEUTRAL[name] if own is None else own

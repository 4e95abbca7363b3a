"""The fields of the parameter sheet: their ranges, their values from text, and the words about their defaults. Pure."""

from typing import Any

import msgspec

from lmx_daemon.contract.admin.chats import ChatSettings
from lmx_daemon.contract.admin.defaults import DefaultOrigin, DefaultValue
from lmx_daemon.contract.generation.preset import Preset

SAMPLING = {
    "temperature": "0 to 2",
    "top_p": "0 to 1",
    "top_k": "a whole number from 0; 0 keeps all",
    "min_p": "0 to 1",
    "repetition_penalty": "above 0, up to 10",
    "seed": "a whole number from 0",
}
"""Field of Sampling -> the values that it can have."""
OTHERS = {
    "max_tokens": "a whole number from 1",
    "stop": "ends of an answer, with commas",
    "thinking": "on or off",
    "preset": "a name of lmx preset list",
}
"""Other fields -> the values that they can have."""
FIELDS = SAMPLING | OTHERS
THINKING = {"": None, "on": True, "off": False}
ORIGINS: dict[DefaultOrigin, str] = {"preset": "preset", "settings": "config.toml", "model": "model", "lmx": "lmx"}


def label(name: str) -> str:
    """Return the name of a field as the sheet writes it."""
    return name.replace("_", " ")


def value_of(name: str, text: str) -> Any:
    """Return the value of a field from its text; None for no text. Raise ValueError, which names the valid values."""
    text = text.strip()
    if name == "stop":
        return tuple(word for part in text.split(",") if (word := part.strip()))
    if name == "preset":
        return text
    if not text:
        return None
    try:
        if name == "thinking":
            return THINKING[text.lower()]
        value = int(text) if text.lstrip("+-").isdigit() else float(text)
        fields = {"sampling": {name: value}} if name in SAMPLING else {name: value}
        found = msgspec.convert(fields, ChatSettings)
    except (KeyError, ValueError, msgspec.ValidationError):
        raise ValueError(f"{label(name)} is {FIELDS[name].partition(';')[0]}, not {text[:20]!r}") from None
    return getattr(found.sampling if name in SAMPLING else found, name)


def text_of(name: str, value: Any) -> str:
    """Return the text of a value in its field."""
    if value is None:
        return ""
    if name == "thinking":
        return "on" if value else "off"
    if name == "stop" and not isinstance(value, str):
        return ", ".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def default_words(name: str, default: DefaultValue | None) -> str:
    """Return the text beside a field: its default, the default's origin, and the values that the field can have."""
    if default is None:
        return FIELDS[name]
    return f"{text_of(name, default.value)} ({ORIGINS[default.origin]}) · {FIELDS[name]}"


def preset_values(changes: dict[str, Any], named: Preset | None) -> dict[str, Any]:
    """Return the values of a sheet as keys of a preset; None removes a key.

    An empty field has the value of the preset that the sheet names.
    """
    own = {f"sampling.{name}": getattr(changes["sampling"], name) for name in SAMPLING}
    own |= {name: changes[name] for name in ("max_tokens", "thinking")}
    own |= {"system": changes["system"] or None, "stop": list(changes["stop"]) or None}
    if named is None:
        return own
    kept = {f"sampling.{name}": getattr(named.sampling, name) for name in SAMPLING}
    kept |= {"max_tokens": named.max_tokens, "thinking": named.thinking}
    kept |= {"system": named.system or None, "stop": list(named.stop) or None}
    return {name: kept[name] if value is None else value for name, value in own.items()}

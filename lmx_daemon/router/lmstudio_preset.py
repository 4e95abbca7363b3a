"""The translation of LM Studio's presets. Pure. The names of fields that lmx does not support are returned.

A current file lists fields by key in `operation` and `load`; a value may be an object with `checked` and `value`. An
old file has the tables `inference_params` and `load_params` instead.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from lmx_daemon.contract.errors import RequestError
from lmx_daemon.contract.generation.preset import Preset

PREDICTION = "llm.prediction."
FIELDS = {
    "systemPrompt": "system",
    "temperature": "sampling.temperature",
    "topKSampling": "sampling.top_k",
    "topPSampling": "sampling.top_p",
    "minPSampling": "sampling.min_p",
    "repeatPenalty": "sampling.repetition_penalty",
    "presencePenalty": "sampling.presence_penalty",
    "frequencyPenalty": "sampling.frequency_penalty",
    "llama.presencePenalty": "sampling.presence_penalty",
    "llama.frequencyPenalty": "sampling.frequency_penalty",
    "seed": "sampling.seed",
    "maxPredictedTokens": "max_tokens",
    "stopStrings": "stop",
    "contextOverflowPolicy": "overflow",
}
"""Key of a field in LM Studio, without PREDICTION -> key of a preset of lmx."""
OLD_FIELDS = {
    "pre_prompt": "system",
    "temp": "sampling.temperature",
    "temperature": "sampling.temperature",
    "top_k": "sampling.top_k",
    "top_p": "sampling.top_p",
    "min_p": "sampling.min_p",
    "repeat_penalty": "sampling.repetition_penalty",
    "presence_penalty": "sampling.presence_penalty",
    "frequency_penalty": "sampling.frequency_penalty",
    "seed": "sampling.seed",
    "n_predict": "max_tokens",
    "antiprompt": "stop",
}
POLICIES = {"stopAtLimit": "error", "truncateMiddle": "truncate_middle", "rollingWindow": "rolling"}
UNSET = {"sampling.seed": -1, "max_tokens": -1}
"""Numbers that mean that a field is not set."""


def translated(text: str) -> tuple[str, Preset, tuple[str, ...]]:
    """Return the name of the preset in the file, the preset, and the fields that were ignored.

    Raise RequestError for a text that is not a preset of LM Studio.
    """
    try:
        document = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise RequestError(f"the file is not JSON: {error}", hint="export the preset from LM Studio") from None
    if not isinstance(document, dict) or not (document.keys() & {"operation", "inference_params"}):
        raise RequestError(
            "the file is not a preset of LM Studio: it has neither `operation` nor `inference_params`",
            hint="LM Studio keeps its presets in ~/.lmstudio/config-presets",
        )
    values: dict[str, Any] = {}
    ignored: list[str] = []
    for key, name, value in _fields(document):
        if name is None:
            ignored.append(key)
        elif (problem := _put(values, name, value)) is not None:
            ignored.append(f"{key} ({problem})")
    title = document.get("name") or document.get("identifier") or ""
    return title if isinstance(title, str) else "", msgspec.convert(values, Preset), tuple(ignored)


def _fields(document: Mapping[str, Any]) -> list[tuple[str, str | None, Any]]:
    """Return key, name in lmx and value of each field that is set. The name of an unsupported field is None."""
    found: list[tuple[str, str | None, Any]] = []
    for part in ("operation", "load"):
        for field in _listed(document.get(part)):
            key, value = str(field.get("key")), field.get("value")
            if isinstance(value, dict) and "checked" in value:
                if not value["checked"]:
                    continue
                value = value.get("value")
            known = key.startswith(PREDICTION) and part == "operation"
            found.append((key, FIELDS.get(key.removeprefix(PREDICTION)) if known else None, value))
    for part, names in (("inference_params", OLD_FIELDS), ("load_params", dict[str, str]())):
        table = document.get(part)
        for key, value in (table if isinstance(table, dict) else {}).items():
            found.append((f"{part}.{key}", names.get(key), value))
    return [(key, name, value) for key, name, value in found if not _is_unset(name, value)]


def _listed(part: Any) -> list[dict[str, Any]]:
    fields = part.get("fields") if isinstance(part, dict) else None
    return [field for field in fields if isinstance(field, dict)] if isinstance(fields, list) else []


def _is_unset(name: str | None, value: Any) -> bool:
    return value is None or value in ("", []) or (name in UNSET and value == UNSET[name])


def _put(values: dict[str, Any], name: str, value: Any) -> str | None:
    """Set a value, and return why it cannot be set; None if it can."""
    if name == "overflow":
        if value not in POLICIES:
            return "an unknown policy"
        value = POLICIES[value]
    table, _, key = name.rpartition(".")
    changed = {table: values.get(table, {}) | {key: value}} if table else {key: value}
    try:
        msgspec.convert(changed, Preset)
    except msgspec.ValidationError as error:
        return str(error).partition(" - at ")[0]
    values.update(changed)
    return None

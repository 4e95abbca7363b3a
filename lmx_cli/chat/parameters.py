"""The sampling parameters of a conversation, as `/params NAME=VALUE` sets them. Pure."""

from collections.abc import Sequence
from typing import Any

import msgspec

from lmx_daemon.contract.errors import UsageError
from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.contract.generation.requests import Sampling

THINKING = {"on": True, "off": False, "true": True, "false": False}
LEFT_OUT = ("logit_bias",)
"""Fields of Sampling that `/params` cannot set."""


class ChatParameters(Frozen, frozen=True):
    """Parameters of a conversation's requests. None leaves a value to the model."""

    sampling: Sampling = Sampling()
    max_tokens: int | None = None
    thinking: bool | None = None


def names() -> list[str]:
    """Return the names that `/params` accepts."""
    fields = [name for name in Sampling.__struct_fields__ if name not in LEFT_OUT]
    return [*fields, "max_tokens", "thinking"]


def changed(parameters: ChatParameters, words: Sequence[str]) -> ChatParameters:
    """Return the parameters as NAME=VALUE words change them. `NAME=` leaves a value to the model. Raises UsageError."""
    for word in words:
        name, sign, text = word.partition("=")
        if not sign or name not in names():
            raise UsageError(f"{word!r} sets no parameter", hint=f"parameters are: {', '.join(names())}")
        try:
            parameters = _with(parameters, name, text)
        except (ValueError, msgspec.ValidationError) as error:
            reason = str(error).partition(" - at")[0]
            raise UsageError(f"{name} cannot be {text!r}: {reason}", hint=f"{name}= leaves it to the model") from None
    return parameters


def _with(parameters: ChatParameters, name: str, text: str) -> ChatParameters:
    if name == "thinking":
        if text and text not in THINKING:
            raise ValueError("expected on or off")
        return msgspec.structs.replace(parameters, thinking=THINKING.get(text))
    if name == "max_tokens":
        count = int(text) if text else None
        if count is not None and count < 1:
            raise ValueError("expected a number of at least 1")
        return msgspec.structs.replace(parameters, max_tokens=count)
    values = msgspec.structs.asdict(parameters.sampling) | {name: text or None}
    return msgspec.structs.replace(parameters, sampling=msgspec.convert(values, Sampling, strict=False))


def described(parameters: ChatParameters) -> str:
    """Return one line with the parameters that are set."""
    values: dict[str, Any] = msgspec.structs.asdict(parameters.sampling)
    values |= {"max_tokens": parameters.max_tokens, "thinking": parameters.thinking}
    shown = {True: "on", False: "off"}
    parts = [
        f"{name}={shown[value] if isinstance(value, bool) else value}"
        for name, value in values.items()
        if value is not None and name not in LEFT_OUT
    ]
    return ", ".join(parts) or "all parameters are left to the model"

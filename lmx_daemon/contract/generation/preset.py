"""Presets: named values for fields that a request does not set. Each is a file in the home's folder `presets`."""

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.contract.generation.requests import Overflow, Penalty, Probability

PRESET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
"""Form of a preset's name, which is the name of its file without `.toml`."""
MAX_SYSTEM = 200_000
"""Number of characters of a system prompt."""
ListedModel = Annotated[str, Meta(min_length=1, max_length=200)]


class PresetPart(Frozen, frozen=True, forbid_unknown_fields=True):
    """The base of a preset's tables: unknown keys are errors."""


class PresetSampling(PresetPart, frozen=True):
    """Sampling settings; None leaves a value to the model."""

    temperature: Annotated[float, Meta(ge=0.0, le=2.0)] | None = None
    top_p: Probability | None = None
    top_k: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    min_p: Probability | None = None
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Meta(gt=0.0, le=10.0)] | None = None


class PresetTools(PresetPart, frozen=True):
    """Policy for tools of requests that state none of their own."""

    choice: Literal["auto", "none", "required"] | None = None
    parallel: bool | None = None


class PresetTemplate(PresetPart, frozen=True):
    """Variables of the chat template."""

    reasoning_effort: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    preserve_thinking: bool | None = None


class Preset(PresetPart, frozen=True):
    """Values for fields that a request does not set."""

    model: ListedModel | tuple[ListedModel, ...] = ()
    """Models or aliases, tried in order; () means those of `default`."""
    system: Annotated[str, Meta(max_length=MAX_SYSTEM)] = ""
    """System prompt of a conversation that has none."""
    sampling: PresetSampling = PresetSampling()
    max_tokens: Annotated[int, Meta(ge=1, le=2**53)] | None = None
    stop: Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=1000)], ...], Meta(max_length=64)] = ()
    tools: PresetTools = PresetTools()
    thinking: bool | None = None
    thinking_budget: Annotated[int, Meta(ge=0, le=2**53)] | None = None
    template: PresetTemplate = PresetTemplate()
    overflow: Overflow | None = None

    @property
    def models(self) -> tuple[str, ...]:
        """The models as a tuple."""
        return (self.model,) if isinstance(self.model, str) else self.model


class PresetRow(Frozen, frozen=True):
    """A preset as it is listed."""

    name: str
    preset: Preset | None = None
    """None if the file has a problem."""
    problem: str | None = None
    """Reason why the preset cannot be used, in one line."""


class PresetChange(Frozen, frozen=True):
    """Change of a preset, which is created if it is missing."""

    name: str
    values: dict[str, Any] = {}
    """Key, with a dot for a key in a table -> value; null removes the key."""


class PresetName(Frozen, frozen=True):
    """The name of a preset."""

    name: str


class PresetImport(Frozen, frozen=True):
    """A preset of LM Studio."""

    text: str
    """Content of its JSON file."""
    name: str
    """Name that the preset gets; characters that a name cannot have are replaced."""
    replace: bool = False
    """Whether a preset of this name may be replaced."""


class PresetImported(Frozen, frozen=True):
    """Result of an import."""

    row: PresetRow
    ignored: tuple[str, ...] = ()
    """Fields of the file that lmx does not support, or whose value is out of range."""


def preset_name(text: str) -> str:
    """Return a text as the name of a preset: other characters are replaced by a hyphen. Raise ValueError for none."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text.removeprefix("@local:")).strip("-._")[:64]
    if not PRESET_NAME.fullmatch(name):
        raise ValueError(f"{text[:100]!r} has no characters that the name of a preset can have")
    return name


def tables_of(preset: Preset) -> dict[str, Any]:
    """Return the values of a preset as the tables of its file, without those that are not set."""
    found: dict[str, Any] = msgspec.to_builtins(preset)
    return {key: value for key, value in found.items() if value not in ({}, [], (), "", None)}

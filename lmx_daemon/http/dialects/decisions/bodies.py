"""The bodies of /v1/decisions and /v1/systemone as clients send them. Fields that are not named here are ignored."""

from typing import Annotated, Any, Literal

import msgspec

from lmx_daemon.contract.generation.requests import Seconds

MAX_QUESTIONS = 64
"""Questions of one request; each takes a place in the queue."""
MAX_CHOICES = 255
MAX_LEVELS = 10
MAX_MESSAGES = 1000

Words = Annotated[str, msgspec.Meta(min_length=1)]


class DecidingBody(msgspec.Struct, frozen=True, kw_only=True):
    """Fields of both routes. All but the model are additions of lmx, with the meaning that they have in chat."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
    deadline: Seconds | None = None
    queue_deadline: Seconds | None = None
    priority: Annotated[int, msgspec.Meta(ge=-10, le=10)] | None = None
    cache_namespace: Annotated[str, msgspec.Meta(max_length=512)] | None = None
    ttl: Annotated[float, msgspec.Meta(ge=-1)] | None = None


class InputPart(msgspec.Struct, frozen=True):
    type: str
    text: str | None = None


class InputMessage(msgspec.Struct, frozen=True):
    content: str | list[InputPart]
    role: Literal["user"] = "user"


class PredicateQuestion(msgspec.Struct, frozen=True, kw_only=True, tag="predicate", tag_field="type"):
    instructions: Words
    name: str | None = None


class ChoiceBody(msgspec.Struct, frozen=True):
    value: str | bool
    description: str | None = None


class ChoiceQuestion(msgspec.Struct, frozen=True, kw_only=True, tag="choice", tag_field="type"):
    instructions: Words
    choices: Annotated[list[ChoiceBody], msgspec.Meta(min_length=1, max_length=MAX_CHOICES)]
    name: str | None = None


class LevelBody(msgspec.Struct, frozen=True):
    label: Words
    description: str | None = None


class ScoreQuestion(msgspec.Struct, frozen=True, kw_only=True, tag="score", tag_field="type"):
    instructions: Words
    levels: Annotated[list[LevelBody], msgspec.Meta(min_length=1, max_length=MAX_LEVELS)]
    name: str | None = None


class DecisionBody(DecidingBody, frozen=True, kw_only=True):
    """OpenAI's form."""

    input: str | Annotated[list[InputMessage], msgspec.Meta(min_length=1, max_length=MAX_MESSAGES)]
    questions: Annotated[
        list[PredicateQuestion | ChoiceQuestion | ScoreQuestion], msgspec.Meta(min_length=1, max_length=MAX_QUESTIONS)
    ]
    safety_identifier: Annotated[str, msgspec.Meta(max_length=512)] | None = None


TextOrJson = str | dict[str, Any] | list[Any]
"""Text, or JSON that the model reads as text."""


class NoulQuestion(msgspec.Struct, frozen=True, kw_only=True, tag="noul", tag_field="type"):
    instructions: TextOrJson | None = None
    criteria: dict[Literal["true", "false"], TextOrJson | None] | None = None


class NamedQuestion(msgspec.Struct, frozen=True, kw_only=True, tag="choice", tag_field="type"):
    criteria: Annotated[dict[Words, TextOrJson | None], msgspec.Meta(min_length=1, max_length=MAX_CHOICES)]
    instructions: TextOrJson | None = None


class RatedQuestion(msgspec.Struct, frozen=True, kw_only=True, tag="score", tag_field="type"):
    criteria: Annotated[list[TextOrJson], msgspec.Meta(min_length=1, max_length=MAX_LEVELS)]
    instructions: TextOrJson | None = None


class SystemOneBody(DecidingBody, frozen=True, kw_only=True):
    """TypeSafe's form, which LM Studio, SGLang and vLLM serve, too."""

    state: TextOrJson
    questions: Annotated[
        dict[str, NoulQuestion | NamedQuestion | RatedQuestion], msgspec.Meta(min_length=1, max_length=MAX_QUESTIONS)
    ]

"""The answers of decisions: types for the OpenAPI document, and their values from the log-probabilities of options."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from lmx_daemon.contract.generation.events import Decided
from lmx_daemon.http.dialects.decisions import bodies
from lmx_daemon.http.dialects.decisions.bodies import DecisionBody, SystemOneBody
from lmx_daemon.http.dialects.decisions.questions import (
    choice_confidence,
    mean_level,
    probabilities,
    score_confidence,
)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A part of an answer."""


class PredicateAnswer(Answer, frozen=True, kw_only=True, tag="predicate", tag_field="type"):
    """Probability that the condition holds."""

    name: str | None
    probability: float


class ChoiceProbability(Answer, frozen=True, kw_only=True):
    value: str | bool
    probability: float


class ChoiceAnswer(Answer, frozen=True, kw_only=True, tag="choice", tag_field="type"):
    """The likeliest value, with the probabilities of all."""

    name: str | None
    choice: str | bool
    confidence: float
    probabilities: list[ChoiceProbability]


class LevelProbability(Answer, frozen=True, kw_only=True):
    value: int
    label: str
    probability: float


class ScoreAnswer(Answer, frozen=True, kw_only=True, tag="score", tag_field="type"):
    """The expected level, counted from 0, with the probabilities of all."""

    name: str | None
    score: float
    confidence: float
    probabilities: list[LevelProbability]


class InputDetails(Answer, frozen=True, kw_only=True):
    cached_tokens: int
    cache_write_tokens: int = 0


class OutputDetails(Answer, frozen=True, kw_only=True):
    reasoning_tokens: int = 0


class DecisionUsage(Answer, frozen=True, kw_only=True):
    """Tokens of the prompts of all questions. Nothing is generated."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int = 0
    output_tokens_details: OutputDetails = OutputDetails()
    total_tokens: int


class DecisionAnswer(Answer, frozen=True, kw_only=True):
    """OpenAI's answer, with the answers in the order of the questions."""

    model: str
    answers: list[PredicateAnswer | ChoiceAnswer | ScoreAnswer]
    usage: DecisionUsage


class NoulAnswer(Answer, frozen=True, kw_only=True, tag="noul", tag_field="type"):
    noul: float


class NamedAnswer(Answer, frozen=True, kw_only=True, tag="choice", tag_field="type"):
    choice: str
    probabilities: dict[str, float]
    confidence: float


class RatedAnswer(Answer, frozen=True, kw_only=True, tag="score", tag_field="type"):
    score: float
    legend: dict[str, Any]
    probabilities: dict[str, float]
    confidence: float


class SystemOneUsage(Answer, frozen=True, kw_only=True):
    input_tokens: int
    output_tokens: Literal[0] = 0


class SystemOneAnswer(Answer, frozen=True, kw_only=True):
    """System One's answer, with the answers by the names of the questions."""

    model: str
    answers: dict[str, NoulAnswer | NamedAnswer | RatedAnswer]
    usage: SystemOneUsage


def decision_answer(body: DecisionBody, decided: Sequence[Decided]) -> DecisionAnswer:
    """Return the answer in OpenAI's form."""
    answers = [answer_of(each, probabilities(end.logprobs)) for each, end in zip(body.questions, decided, strict=True)]
    tokens = sum(end.usage.prompt_tokens for end in decided)
    cached = sum(end.usage.cached_tokens for end in decided)
    usage = DecisionUsage(
        input_tokens=tokens, input_tokens_details=InputDetails(cached_tokens=cached), total_tokens=tokens
    )
    return DecisionAnswer(model=body.model, answers=answers, usage=usage)


def answer_of(
    question: bodies.PredicateQuestion | bodies.ChoiceQuestion | bodies.ScoreQuestion, found: list[float]
) -> PredicateAnswer | ChoiceAnswer | ScoreAnswer:
    """Return the answer to one question of OpenAI's form from the probabilities of its labels."""
    match question:
        case bodies.PredicateQuestion(name=name):
            return PredicateAnswer(name=name, probability=found[0])
        case bodies.ChoiceQuestion(name=name, choices=choices):
            return ChoiceAnswer(
                name=name,
                choice=choices[found.index(max(found))].value,
                confidence=choice_confidence(found),
                probabilities=[
                    ChoiceProbability(value=each.value, probability=value)
                    for each, value in zip(choices, found, strict=True)
                ],
            )
        case bodies.ScoreQuestion(name=name, levels=levels):
            return ScoreAnswer(
                name=name,
                score=mean_level(found),
                confidence=score_confidence(found),
                probabilities=[
                    LevelProbability(value=number, label=level.label, probability=value)
                    for number, (level, value) in enumerate(zip(levels, found, strict=True))
                ],
            )


def system_one_answer(body: SystemOneBody, decided: Sequence[Decided]) -> SystemOneAnswer:
    """Return the answer in System One's form."""
    answers = {
        name: system_one_answer_of(question, probabilities(end.logprobs))
        for (name, question), end in zip(body.questions.items(), decided, strict=True)
    }
    usage = SystemOneUsage(input_tokens=sum(end.usage.prompt_tokens for end in decided))
    return SystemOneAnswer(model=body.model, answers=answers, usage=usage)


def system_one_answer_of(
    question: bodies.NoulQuestion | bodies.NamedQuestion | bodies.RatedQuestion, found: list[float]
) -> NoulAnswer | NamedAnswer | RatedAnswer:
    """Return the answer to one question of System One's form from the probabilities of its labels."""
    match question:
        case bodies.NoulQuestion():
            return NoulAnswer(noul=found[0])
        case bodies.NamedQuestion(criteria=options):
            named = dict(zip(options, found, strict=True))
            return NamedAnswer(
                choice=max(named, key=named.__getitem__), probabilities=named, confidence=choice_confidence(found)
            )
        case bodies.RatedQuestion(criteria=levels):
            numbered = {str(number): value for number, value in enumerate(found)}
            return RatedAnswer(
                score=mean_level(found),
                legend={str(number): level for number, level in enumerate(levels)},
                probabilities=numbered,
                confidence=score_confidence(found),
            )

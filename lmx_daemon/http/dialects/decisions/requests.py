"""Translation of the bodies of decisions to questions and to `contract.generation.requests.Decide`."""

from collections.abc import Sequence
from typing import Any

import msgspec

from lmx_daemon.contract.errors import RequestError, UnsupportedError
from lmx_daemon.contract.generation.requests import Chat, Decide, Message, TextPart
from lmx_daemon.http.context import RequestContext
from lmx_daemon.http.dialects.decisions import bodies
from lmx_daemon.http.dialects.decisions.bodies import DecidingBody, DecisionBody, InputPart, SystemOneBody
from lmx_daemon.http.dialects.decisions.questions import PREDICATE, Question, described, letters

SEPARATOR = "\n\n"


def decision_requests(body: DecisionBody, context: RequestContext) -> list[Decide]:
    """Return a request for each question in OpenAI's form. Raise RequestError, UnsupportedError."""
    names = [question.name for question in body.questions if question.name is not None]
    for position, question in enumerate(body.questions):
        if question.name is not None and names.count(question.name) > 1:
            place = f"questions[{position}].name"
            raise RequestError(f"{place}: {question.name[:64]!r} names two questions", param=place)
    about = text_of_input(body)
    asked = [question_of(question, f"questions[{place}]") for place, question in enumerate(body.questions)]
    return requests(body, about, asked, "/v1/decisions", context, body.safety_identifier or "")


def system_one_requests(body: SystemOneBody, context: RequestContext) -> list[Decide]:
    """Return a request for each question in System One's form. Raise RequestError."""
    asked = [system_one_question(question, f"questions.{name}") for name, question in body.questions.items()]
    return requests(body, as_text(body.state), asked, "/v1/systemone", context, "")


def requests(
    body: DecidingBody, about: str, asked: Sequence[Question], route: str, context: RequestContext, user: str
) -> list[Decide]:
    """Return the requests of questions about a text. Tenant and priority are the principal's.

    The requests share the text: with a copy for each question, one body could take 64 times its size in memory.
    """
    shared = TextPart(text=about)
    return [
        Decide(
            id=context.id,
            tenant=context.principal.tenant,
            client=context.client,
            user=user,
            model=body.model,
            prompt=Chat(
                messages=(Message(role="user", content=(shared, TextPart(text=question.prompt()))),), thinking=False
            ),
            options=question.labels,
            route=route,
            ttl=body.ttl,
            deadline=body.deadline,
            queue_deadline=body.queue_deadline,
            priority=context.principal.priority(body.priority or 0),
            cache_namespace=body.cache_namespace or "",
        )
        for question in asked
    ]


def text_of_input(body: DecisionBody) -> str:
    """Return the text that the questions are about. Raise UnsupportedError for parts that are not text."""
    if isinstance(body.input, str):
        text = body.input
    else:
        text = SEPARATOR.join(
            message.content
            if isinstance(message.content, str)
            else SEPARATOR.join(
                text_of_part(part, f"input[{place}].content[{index}]") for index, part in enumerate(message.content)
            )
            for place, message in enumerate(body.input)
        )
    if not text.strip():
        raise RequestError("input: the text is empty", param="input")
    return text


def text_of_part(part: InputPart, place: str) -> str:
    if part.type not in ("input_text", "text"):
        raise UnsupportedError(
            f"{place}: decisions are about texts; parts of type {part.type[:64]!r} are not supported",
            param=f"{place}.type",
        )
    if part.text is None:
        raise RequestError(f"{place}: a text part needs text", param=f"{place}.text")
    return part.text


def question_of(
    question: bodies.PredicateQuestion | bodies.ChoiceQuestion | bodies.ScoreQuestion, place: str
) -> Question:
    """Return a question of OpenAI's form."""
    match question:
        case bodies.PredicateQuestion():
            return Question(question.instructions, PREDICATE, ("", ""))
        case bodies.ChoiceQuestion():
            values = [choice.value for choice in question.choices]
            for index, value in enumerate(values):
                check_choice(value, values[:index], f"{place}.choices[{index}].value")
            texts = tuple(described(str(each.value).strip(), each.description) for each in question.choices)
            return Question(question.instructions, letters(len(texts)), texts)
        case bodies.ScoreQuestion():
            levels = tuple(described(level.label, level.description) for level in question.levels)
            return rated(question.instructions, levels)


def check_choice(value: str | bool, before: Sequence[str | bool], place: str) -> None:
    """Raise RequestError for a blank value, or one that occurs twice. A text and a boolean are never the same."""
    if isinstance(value, str) and not value.strip():
        raise RequestError(f"{place}: the text is empty", param=place)
    if any(type(value) is type(other) and value == other for other in before):
        raise RequestError(f"{place}: {value!r} occurs twice", param=place)


def system_one_question(
    question: bodies.NoulQuestion | bodies.NamedQuestion | bodies.RatedQuestion, place: str
) -> Question:
    """Return a question of System One's form."""
    instructions = "" if question.instructions is None else as_text(question.instructions)
    match question:
        case bodies.NoulQuestion(criteria=criteria):
            told = criteria or {}
            texts = tuple("" if told.get(name) is None else as_text(told[name]) for name in ("true", "false"))
            if not instructions and not any(texts):
                raise RequestError(f"{place}: instructions or criteria are needed", param=f"{place}.instructions")
            return Question(instructions, PREDICATE, texts)
        case bodies.NamedQuestion(criteria=options):
            named = (described(name, None if text is None else as_text(text)) for name, text in options.items())
            return Question(instructions, letters(len(options)), tuple(named))
        case bodies.RatedQuestion(criteria=levels):
            return rated(instructions, tuple(as_text(level) for level in levels))


def rated(instructions: str, levels: tuple[str, ...]) -> Question:
    """Return a question whose labels are the numbers of levels, from 0."""
    return Question(instructions, tuple(str(number) for number in range(len(levels))), levels, "level")


def as_text(given: Any) -> str:
    """Return a text as it is, and other JSON as compact JSON."""
    return given if isinstance(given, str) else msgspec.json.encode(given).decode()

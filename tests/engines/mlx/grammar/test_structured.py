"""Constrained answers of models with random weights: every complete answer is what its constraint allows."""

import json
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from lmx_daemon.contract.errors import RequestError
from lmx_daemon.contract.generation.constraint import Constraint, Grammar, JsonSchema, Regex, TextChoice
from lmx_daemon.contract.generation.events import Delta, Event, Failed, Finished
from lmx_daemon.contract.generation.requests import Generate, Sampling, Tokens
from lmx_daemon.contract.worker.messages import Events, TextOptions
from lmx_daemon.engines.mlx.commands import Ready
from lmx_daemon.engines.mlx.grammar.compiler import GrammarCompiler
from lmx_daemon.engines.mlx.load.model import load
from lmx_daemon.engines.mlx.load.probe import probe_model
from lmx_daemon.engines.mlx.prefix.sharing import PrefixSharing
from lmx_daemon.engines.mlx.schedule.queue import RequestQueue
from lmx_daemon.engines.mlx.schedule.scheduler import Scheduler
from lmx_daemon.engines.mlx.text.prompts.prompt import PreparedPrompt
from lmx_daemon.worker.heartbeat import HeartbeatCounters
from tests.models import build_model

PROMPT = (5, 6, 7, 8)
OPTIONS = TextOptions(max_running=16)


class Engine:
    """A scheduler and a compiler of one model, and the events that the scheduler has sent."""

    def __init__(self, path: Path) -> None:
        loaded = load(path, OPTIONS, lambda *_: None)
        abilities = probe_model(loaded.model)
        self.tokenizer = loaded.tokenizer
        self.compiler = GrammarCompiler(loaded.tokenizer, loaded.vocabulary)
        self.events: dict[str, list[Event]] = {}
        queue = RequestQueue(abilities.cache, 0, 4096)
        self.scheduler = Scheduler(
            loaded, abilities, "one", OPTIONS, queue, PrefixSharing(), counters=HeartbeatCounters(), send=self._receive
        )

    def _receive(self, message: Any) -> None:
        if isinstance(message, Events):
            for event in message.events:
                self.events.setdefault(event.id, []).append(event)

    def ask(self, constraint: Constraint | None, thinking: bool = False, **fields: Any) -> str:
        name = f"r{len(self.events)}"
        sampling = Sampling(temperature=1.0, seed=len(self.events))
        fields = {"max_tokens": 400, "sampling": sampling} | fields
        request = Generate(id=name, model="m", prompt=Tokens(ids=PROMPT), constraint=constraint, **fields)
        grammar = self.compiler.compile(constraint) if constraint is not None else None
        prepared = PreparedPrompt(list(PROMPT), [], raw=True, thinking=thinking)
        self.events[name] = []
        self.scheduler.receive(Ready(request, prepared, time.monotonic(), 0.0, grammar))
        return name

    def finish(self) -> None:
        while not self.scheduler.idle:
            self.scheduler.turn()

    def answers(self, name: str) -> list[tuple[str, str]]:
        """Return text and ending reason of each choice."""
        end = self.events[name][-1]
        assert isinstance(end, Finished), end
        deltas = [event for event in self.events[name] if isinstance(event, Delta)]
        texts = ["".join(each.content for each in deltas if each.choice == n) for n in range(len(end.endings))]
        return list(zip(texts, [ending.reason for ending in end.endings], strict=True))


@pytest.fixture(scope="module", params=["llama", "gemma3_text"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    made = Engine(build_model(request.param, tmp_path_factory.mktemp("model"), ends=True))
    yield made
    made.compiler.close()


def random_schema(generator: random.Random, depth: int = 0) -> dict[str, Any]:
    """Return a schema that answers of a random model can satisfy within a few hundred tokens."""
    kinds = ["string", "integer", "number", "boolean", "null", "enum", "const", "pattern", "bounded"]
    kinds += ["object", "object", "array", "any of", "tuple"] if depth < 3 else []
    match generator.choice(kinds) if depth else "object":
        case "string":
            return {"type": "string", "maxLength": generator.randint(0, 12)}
        case "pattern":
            return {"type": "string", "pattern": generator.choice(("^[a-c]{2,5}$", "^(red|green)-[0-9]+$", "^.{1,3}$"))}
        case "enum":
            return {"enum": generator.sample(["a", "b c", 1, 2.5, None, True, "\u00fc\n", [1], {"x": 1}], 3)}
        case "const":
            return {"const": generator.choice(["fixed", 7, {"a": [1, 2]}])}
        case "bounded":
            low = generator.randint(-100, 100)
            return {"type": "integer", "minimum": low, "maximum": low + generator.randint(0, 500)}
        case "array":
            return {"type": "array", "items": random_schema(generator, depth + 1), "maxItems": generator.randint(0, 3)}
        case "tuple":
            items = [random_schema(generator, depth + 1) for _ in range(2)]
            return {"type": "array", "prefixItems": items, "items": False, "minItems": 2}
        case "any of":
            return {"anyOf": [random_schema(generator, depth + 1) for _ in range(2)]}
        case "object":
            names = generator.sample(["name", "age", "tags", "na\u00efve", "x y", "$id"], generator.randint(1, 4))
            properties = {name: random_schema(generator, depth + 1) for name in names}
            required = [name for name in names if generator.random() < 0.6]
            return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
        case kind:
            return {"type": kind}


def check(schema: dict[str, Any], text: str, reason: str) -> bool:
    if reason == "length":
        return False
    assert reason == "stop"
    jsonschema.Draft202012Validator(schema).validate(json.loads(text))
    return True


def test_answers_of_random_schemas_validate(engine: Engine) -> None:
    generator = random.Random(11)
    schemas = [random_schema(generator) for _ in range(100)]
    names = [engine.ask(JsonSchema(schema=schema)) for schema in schemas]
    engine.finish()
    complete = 0
    for schema, name in zip(schemas, names, strict=True):
        ((text, reason),) = engine.answers(name)
        complete += check(schema, text, reason)
    assert complete > 80


@pytest.mark.parametrize(
    ("constraint", "pattern"),
    [
        (Regex(pattern=r"[0-9]{3}-[a-f]{2}"), r"[0-9]{3}-[a-f]{2}"),
        (Regex(pattern=r" \w{1,4}!"), r" \w{1,4}!"),
        (TextChoice(choices=("yes", "no", 'per "haps"\n', "ye")), 'yes|no|per "haps"\\n|ye'),
        (Grammar(lark='start: "<" word ">"\nword: /[a-z]{1,6}/'), "<[a-z]{1,6}>"),
    ],
)
def test_answers_match_regex_choice_and_grammar(engine: Engine, constraint: Constraint, pattern: str) -> None:
    names = [engine.ask(constraint, sampling=Sampling(temperature=1.0, seed=seed)) for seed in range(8)]
    engine.finish()
    for name in names:
        ((text, reason),) = engine.answers(name)
        assert reason == "stop" and re.fullmatch(pattern, text), text


def test_each_choice_has_a_matcher_of_its_own(engine: Engine) -> None:
    name = engine.ask(Regex(pattern="[0-9]{6}"), choices=4)
    engine.finish()
    answers = engine.answers(name)
    assert all(re.fullmatch("[0-9]{6}", text) for text, _ in answers) and len({text for text, _ in answers}) > 1


def test_a_preempted_answer_continues_in_its_grammar(engine: Engine) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "minLength": 40, "maxLength": 60}}}
    schema |= {"required": ["a"], "additionalProperties": False}
    names = [engine.ask(JsonSchema(schema=schema)) for _ in range(3)]
    for _ in range(12):
        engine.scheduler.turn()
    engine.scheduler._recover(RuntimeError("broken once"))
    engine.finish()
    for name in names:
        ((text, reason),) = engine.answers(name)
        assert check(schema, text, reason)


def test_white_space_is_bounded(engine: Engine) -> None:
    """A bias towards spaces and line ends cannot make an answer of white space."""
    biased = {token: 100.0 for token in range(400) if engine.tokenizer.decode([token]).isspace()}
    assert biased
    schema = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
    schema |= {"additionalProperties": False}
    name = engine.ask(JsonSchema(schema=schema), sampling=Sampling(temperature=0.0, logit_bias=biased))
    engine.finish()
    ((text, reason),) = engine.answers(name)
    assert check(schema, text, reason) and len(text) < 300


@pytest.mark.parametrize("kind", ["integer", "number"])
def test_numbers_end(engine: Engine, kind: str) -> None:
    """A bias towards digits cannot make an answer of digits."""
    digits = {token: 100.0 for token in range(400) if engine.tokenizer.decode([token]).strip(".eE-").isdigit()}
    schema = {"type": "object", "properties": {"a": {"type": kind}}, "required": ["a"], "additionalProperties": False}
    for bias in (digits, {}):
        names = [
            engine.ask(JsonSchema(schema=schema), sampling=Sampling(temperature=1.0, seed=seed, logit_bias=bias))
            for seed in range(4)
        ]
        engine.finish()
        for name in names:
            ((text, reason),) = engine.answers(name)
            assert check(schema, text, reason), text


def test_long_numbers_of_a_text_are_not_ended(engine: Engine) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^[0-9]{40}$"}}, "required": ["a"]}
    schema |= {"additionalProperties": False}
    name = engine.ask(JsonSchema(schema=schema))
    engine.finish()
    ((text, reason),) = engine.answers(name)
    assert check(schema, text, reason)


def test_a_free_row_is_not_changed_by_constrained_ones(engine: Engine) -> None:
    fields = {"max_tokens": 24, "sampling": Sampling(temperature=0.8, seed=99)}
    alone = engine.ask(None, **fields)
    engine.finish()
    constrained = [engine.ask(Regex(pattern="[a-z]{20}")) for _ in range(3)]
    beside = engine.ask(None, **fields)
    engine.finish()
    assert engine.answers(beside) == engine.answers(alone)
    assert all(engine.answers(name)[0][1] == "stop" for name in constrained)


def test_a_stop_token_of_the_request_ends_only_a_complete_answer(engine: Engine) -> None:
    stops = tuple(token for token in range(400) if engine.tokenizer.decode([token]).strip() in ("7", "8", "9"))
    names = [engine.ask(Regex(pattern="[0-9]{4,30}"), stop_tokens=stops) for _ in range(6)]
    engine.finish()
    for name in names:
        ((text, reason),) = engine.answers(name)
        assert reason == "stop" and re.fullmatch("[0-9]{4,30}", text)


INVALID: list[tuple[Constraint, str]] = [
    (JsonSchema(schema={"not": {"type": "string"}}), "'not'"),
    (JsonSchema(schema={"type": "array", "uniqueItems": True}), "'uniqueItems'"),
    (JsonSchema(schema={"if": {}, "then": {}}), "'if', 'then'"),
    (JsonSchema(schema={"x-guidance": {"lenient": True}, "not": {}}), "'not'"),
    (JsonSchema(schema={"oneOf": [{"type": "integer"}, {"type": "number"}]}), "oneOf"),
    (JsonSchema(schema={"type": "integer", "minimum": 5, "maximum": 3}), "minimum"),
    (JsonSchema(schema={"type": "banana"}), "banana"),
    (JsonSchema(schema={"$ref": "http://localhost/schema"}), "localhost"),
    (JsonSchema(schema={"type": "string", "format": "foo"}), "format"),
    (JsonSchema(schema={"type": "string", "pattern": "(?=a)b"}), "look-around"),
    (Regex(pattern="[", param="guided_regex"), "guided_regex"),
    (Regex(pattern=r"[^\s\S]"), "no text matches"),
    (Grammar(lark="start: x"), "unknown name"),
    (Grammar(lark='start: a\na: a "x"'), "cannot be used"),
]


@pytest.mark.parametrize(("constraint", "reason"), INVALID)
def test_a_constraint_that_cannot_be_used_is_refused_with_the_keyword(
    engine: Engine, constraint: Constraint, reason: str
) -> None:
    with pytest.raises(RequestError, match=re.escape(reason)) as refused:
        engine.compiler.compile(constraint)
    assert refused.value.status == 400 and refused.value.param == constraint.param


def exploding(count: int) -> dict[str, Any]:
    """Return a schema whose intersections double with each part."""
    parts = [
        {"anyOf": [{"properties": {f"a{n}": {"type": kind}}} for kind in ("string", "integer")]} for n in range(count)
    ]
    return {"type": "object", "allOf": parts}


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema, "minItems": 400, "maxItems": 500}
    return schema


ATTACKS: dict[str, Constraint] = {
    "intersections": JsonSchema(schema=exploding(24)),
    "repetitions": JsonSchema(schema=nested(30)),
    "nested repetitions": Regex(pattern="((a{1,500}b?){1,500}c?){1,500}"),
    "alternatives": Regex(pattern="(.*a.{20}|.*b.{21}|.*c.{22}){5,9}"),
    "enum": JsonSchema(schema={"enum": [f"value {n} " * 4 for n in range(9000)]}),
    "grammar": Grammar(
        lark="start: a\n"
        + "\n".join(f"a{'a' * n}: a{'a' * (n + 1)} a{'a' * (n + 1)}" for n in range(60))
        + f'\na{"a" * 60}: "x"'
    ),
    "deep": Regex(pattern="(" * 20_000 + "a" + ")" * 20_000),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_compiled_or_refused_within_its_limits(engine: Engine, attack: str) -> None:
    begun = time.monotonic()
    name = ""
    try:
        name = engine.ask(ATTACKS[attack], max_tokens=30)
    except RequestError as error:
        assert error.status == 400
    assert time.monotonic() - begun < 12.0
    if name:
        begun = time.monotonic()
        engine.finish()
        assert time.monotonic() - begun < 10.0
        assert isinstance(engine.events[name][-1], Finished | Failed)

"""Synthetic tools with matching requests, from which the guide learns to copy names and values."""

import random
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.first_tools import FirstTools
from training.task import Task, function
from training.words import Bank, Values, syllables

TYPES = {"integer": "integer", "number": "number", "boolean": "boolean", "several": "array"}
FIRST = 0.3
"""Share of tasks in the manner of documentation."""


@dataclass(frozen=True)
class Argument:
    """Argument of a tool, its value, and the clause of the request that contains the value."""

    name: str
    schema: dict[str, Any]
    value: Any
    clause: str


class ToolMaker:
    """Generator of random tasks from one random number generator and one bank of words."""

    def __init__(
        self, rng: random.Random, bank: Bank, operators: dict[str, list[str]] | None = None, first: bool = True
    ) -> None:
        self.rng = rng
        self.bank = bank
        self.values = Values(rng, bank)
        self.first = FirstTools(rng, self.values) if first else None
        self.forms = tomllib.loads((Path(__file__).parent / "requests.toml").read_text())
        self.kinds: dict[str, Any] = self.forms["kinds"]
        self.operators: dict[str, list[str]] = operators or self.forms["operators"]

    def task(self) -> Task:
        if self.first and self.rng.random() < FIRST:
            return self.first.task()
        roll = self.rng.random()
        if roll < 0.08:
            return self.arithmetic()
        if roll < 0.12:
            return self.calculation()
        return self.general()

    def general(self) -> Task:
        rng = self.rng
        noun, verb = self.subject(), self.verb()
        arguments = self.arguments(rng.choices([0, 1, 2, 3], [8, 55, 27, 10])[0])
        name = self.name(verb, noun)
        spare = [a for a in self.arguments(1) if a.name not in {b.name for b in arguments}]
        listed = [*arguments, *(spare if rng.random() < 0.25 else [])]
        tool = function(
            name,
            self.description(verb, noun, arguments),
            {a.name: a.schema for a in listed},
            [a.name for a in arguments],
        )
        order = arguments if rng.random() < 0.7 else rng.sample(arguments, len(arguments))
        request = self.request(name, verb, noun, [a.clause for a in order])
        subject = frozenset([*noun.split(), *verb.split(), *(w for a in arguments for w in a.name.split("_"))])
        return Task(tool, request, {a.name: a.value for a in arguments}, subject)

    def arithmetic(self) -> Task:
        rng = self.rng
        verb, signs = rng.choice(list(self.operators.items()))
        number = rng.choice([self.values.integer, self.values.number])
        a, b = number(), number()
        first, second = rng.choice([("a", "b"), ("a", "b"), ("x", "y"), ("first", "second"), ("left", "right")])
        sign = rng.choice(signs)
        name = rng.choice([verb, verb, f"{verb}_numbers", syllables(rng, 2, 3), f"math_{verb}"])
        text = rng.choice([f"{verb.capitalize()} two numbers", f"{verb.capitalize()} numbers {first} and {second}"])
        request = rng.choice(
            [
                *[start.format(f"{a} {sign} {b}") for start in self.forms["sums"]],
                *[f"{start}{verb} {a} and {b}" for start in ("Please ", "Can you ", "")],
                f"{verb.capitalize()} {a} and {b}",
                f"{verb} {a} {b}",
            ]
        )
        kind = {"type": rng.choice(["number", "integer"]) if isinstance(a, int) and isinstance(b, int) else "number"}
        tool = function(name, text, {first: kind, second: kind}, [first, second])
        return Task(tool, request, {first: a, second: b}, frozenset([verb, "numbers", "math"]))

    def calculation(self) -> Task:
        rng = self.rng
        key = rng.choice(["expression", "expression", "formula", "equation", "input"])
        name = rng.choice(["calculate", "evaluate", "compute", "math", "eval_math", syllables(rng, 2, 3)])
        text = rng.choice(["Evaluate an expression", "Compute a math expression", "Work out an arithmetic expression"])
        value = self.values.expression()
        request = rng.choice(self.forms["sums"]).format(value)
        tool = function(name, text, {key: {"type": "string"}}, [key])
        return Task(tool, request, {key: value}, frozenset(["numbers", "math", "expression"]))

    def subject(self) -> str:
        rng = self.rng
        roll = rng.random()
        if roll < 0.25:
            return syllables(rng, 2, 3)
        noun = rng.choice(self.bank.nouns)
        return f"{rng.choice(self.bank.nouns)} {noun}" if roll < 0.4 else noun

    def verb(self) -> str:
        return syllables(self.rng, 1, 2) if self.rng.random() < 0.06 else self.rng.choice(self.bank.verbs)

    def name(self, verb: str, noun: str) -> str:
        rng = self.rng
        words = [*verb.split(), *noun.split()]
        style = rng.random()
        if style < 0.1:
            words = noun.split()
        elif style < 0.16:
            words = [*noun.split(), *verb.split()]
        elif style < 0.22:
            words = [*verb.split(), rng.choice(self.bank.adjectives), *noun.split()]
        elif style < 0.28:
            words = [syllables(rng, 1, 2), *words]
        joiner = rng.choice(["_", "_", "_", "_", "camel", "camel", "-"])
        if joiner == "camel":
            return words[0] + "".join(word.capitalize() for word in words[1:])
        return joiner.join(words)

    def description(self, verb: str, noun: str, arguments: list[Argument]) -> str:
        rng = self.rng
        roll = rng.random()
        if roll < 0.05:
            return ""
        adjective = f"{rng.choice(self.bank.adjectives)} " if rng.random() < 0.3 else ""
        article = rng.choice(["the", "the", "a", "all"])
        verb = rng.choice([verb, verb, verb, "get", "return"])
        text = f"{verb.capitalize()} {article} {adjective}{noun}"
        if arguments and rng.random() < 0.7:
            keys = " and ".join(a.name.replace("_", " ") for a in arguments[: rng.randint(1, 2)])
            text += f" {rng.choice(['for a', 'for a given', 'of a', 'by', 'in a', 'for the', 'with a'])} {keys}"
        if roll > 0.9:
            text += f" {rng.choice(['from', 'in', 'using'])} the {rng.choice(self.bank.nouns)}"
        return text + rng.choice(["", "", "."])

    def arguments(self, count: int) -> list[Argument]:
        rng = self.rng
        if count == 2 and rng.random() < 0.15:
            return self.pair()
        kinds = rng.choices(list(self.kinds), [kind["weight"] for kind in self.kinds.values()], k=count)
        made: list[Argument] = []
        seen: set[str] = set()
        for kind in kinds:
            argument = self.argument(kind, first=not made)
            if argument.name not in seen and kind not in seen:
                made.append(argument)
                seen.update([argument.name, kind])
        return made

    def pair(self) -> list[Argument]:
        values = self.values
        one, two = self.rng.choice([("from", "to"), ("origin", "destination"), ("source", "target"), ("start", "end")])
        make: Callable[[], str] = self.rng.choice([values.place, values.date, values.path, values.code])
        text = {"type": "string"}
        a, b = make(), make()
        return [Argument(one, text, a, f"from {a}"), Argument(two, text, b, f"to {b}")]

    def argument(self, kind: str, first: bool) -> Argument:
        rng = self.rng
        name = rng.choice(self.kinds[kind]["names"].split())
        if rng.random() < 0.12:
            name = rng.choice([syllables(rng, 1, 2), rng.choice(self.bank.nouns)])
        if rng.random() < 0.08 and "_" not in name:
            name = f"{rng.choice(self.bank.nouns)}_{name}"
        if kind == "boolean":
            return self.flag(name)
        schema: dict[str, Any] = {"type": TYPES.get(kind, "string")}
        if kind == "enum":
            options = rng.choice(self.forms["choices"]).split()
            if rng.random() < 0.5:
                options = rng.sample(self.bank.nouns, rng.randint(2, 4))
            schema["enum"] = options
            value: Any = rng.choice(options)
        else:
            value = getattr(self.values, kind)()
        if kind == "several":
            schema["items"] = {"type": "string"}
        natural = rng.random() < (0.85 if first else 0.6)
        forms = self.kinds[kind]["clauses"] if natural else self.forms["explicit"]
        clause = rng.choice(forms).format(k=name.replace("_", " "), v=listed(value))
        return Argument(name, schema, value, clause)

    def flag(self, name: str) -> Argument:
        value = self.rng.random() < 0.6
        words = ["on", "true", "yes"] if value else ["off", "false", "no"]
        key = name.replace("_", " ")
        clause = self.rng.choice(["with {k} {w}", "{k}: {w}", "{k} {w}", "set {k} to {w}", "{k} = {w}"])
        return Argument(name, {"type": "boolean"}, value, clause.format(k=key, w=self.rng.choice(words)))

    def request(self, name: str, verb: str, noun: str, clauses: list[str]) -> str:
        rng = self.rng
        head: str = rng.choice(self.forms["heads"])
        adjective = rng.choice(self.bank.adjectives)
        text: str = head.format(n=noun, N=noun.capitalize(), v=verb, V=verb.capitalize(), a=adjective, t=name)
        if head.startswith(("What", "what", "How is")) and clauses and rng.random() < 0.15:
            text += " like"
        for position, clause in enumerate(clauses):
            glue = ", " if position and rng.random() < 0.3 else " and " if position and rng.random() < 0.2 else " "
            text += clause if clause.startswith(":") else glue + clause
        if rng.random() < 0.12:
            text += rng.choice(self.forms["closings"])
        if rng.random() < 0.1:
            opening = rng.choice(self.forms["openings"])
            text = opening + (text[0].lower() + text[1:] if rng.random() < 0.5 else text)
        question = head.startswith(tuple(self.forms["questions"]))
        return text + str(rng.choice(["?", "?", "?", ""]) if question else rng.choice(["", "", ".", "."]))


def listed(value: Any) -> Any:
    """Return a list as a request has it, "a, b and c", and another value as it is."""
    return " and ".join(filter(None, [", ".join(value[:-1]), value[-1]])) if isinstance(value, list) else value

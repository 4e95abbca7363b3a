"""Words, names and values for synthetic tools, drawn from words.toml with a given random source."""

import random
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

ONSETS = "b b br c ch d d dr f fl g gr h j k kl l m n p pl pr qu r s sh sk st t th tr v w y z"
VOWELS = "a e i o u ai ea oo y"
ENDS = ["", "", "", "", "", "", "n", "r", "l", "s", "t", "k", "m", "x", "nd", "rt", "sh", "ng"]
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday tomorrow today"
SUFFIXES = "txt md py json csv log yaml toml png pdf"


@dataclass(frozen=True)
class Bank:
    """Lists of words by kind."""

    nouns: list[str]
    verbs: list[str]
    adjectives: list[str]
    places: list[str]
    people: list[str]


def banks() -> tuple[Bank, Bank]:
    """Return the words for training and the words held out for tests."""
    tables = tomllib.loads((Path(__file__).parent / "words.toml").read_text())
    unseen = tables.pop("unseen")

    def bank(table: dict[str, str]) -> Bank:
        both = {**tables, **table}
        return Bank(**{key: [w.replace("_", " ") for w in both[key].split()] for key in tables})

    return bank({}), bank(unseen)


def with_pieces(bank: Bank, kept: Bank, vocabulary: Iterable[str]) -> Bank:
    """Return `bank` with tokens of the vocabulary as further nouns, but without the words of `kept`.

    The guide copies only those tokens that training has copied at least once.
    """
    words = [*kept.nouns, *kept.places, *kept.people]
    excluded = {part.lower() for word in words for part in word.split()}
    pieces = sorted({word for word in vocabulary if re.fullmatch("[a-z]{2,}", word)} - excluded)
    rounds = -(-len(pieces) // len(bank.nouns))
    return replace(bank, nouns=bank.nouns * rounds + pieces)


def syllables(rng: random.Random, least: int = 1, most: int = 2) -> str:
    count = rng.randint(least, most)
    return "".join(rng.choice(ONSETS.split()) + rng.choice(VOWELS.split()) + rng.choice(ENDS) for _ in range(count))


class Values:
    """Source of argument values, with one method for each kind."""

    def __init__(self, rng: random.Random, bank: Bank) -> None:
        self.rng = rng
        self.bank = bank

    def noun(self) -> str:
        return syllables(self.rng) if self.rng.random() < 0.3 else self.rng.choice(self.bank.nouns)

    def place(self) -> str:
        if self.rng.random() < 0.5:
            name = syllables(self.rng, 1, 3).capitalize()
            return f"{name} {syllables(self.rng, 1, 2).capitalize()}" if self.rng.random() < 0.2 else name
        return self.rng.choice(self.bank.places)

    def person(self) -> str:
        first = self.rng.choice(self.bank.people)
        if self.rng.random() < 0.4:
            first = syllables(self.rng, 1, 3).capitalize()
        if self.rng.random() < 0.25:
            return f"{first} {syllables(self.rng, 1, 2).capitalize()}"
        return first

    def words(self) -> str:
        rng = self.rng
        count = rng.choice([1, 1, 2, 2, 3, 4])
        words = [self.adjective() if rng.random() < 0.33 else self.noun() for _ in range(count)]
        if rng.random() < 0.1:
            words = [word.capitalize() for word in words]
        return " ".join(words)

    def several(self) -> list[str]:
        """Return one to four different nouns."""
        return list(dict.fromkeys(self.noun() for _ in range(self.rng.randint(1, 4))))

    def adjective(self) -> str:
        return self.rng.choice(self.bank.adjectives)

    def path(self) -> str:
        rng = self.rng
        parts = [self.noun() for _ in range(rng.randint(1, 3))]
        name = "/".join(parts) + (f".{rng.choice(SUFFIXES.split())}" if rng.random() < 0.7 else "")
        return rng.choice(["", "", "/", "/", "~/", "./"]) + name

    def code(self) -> str:
        rng = self.rng
        digits = "".join(rng.choice("0123456789") for _ in range(rng.randint(2, 6)))
        return rng.choice([digits, f"{rng.choice('ABCDEFGHKLMNPRSTXZ')}-{digits}", f"{syllables(rng, 1, 1)}{digits}"])

    def email(self) -> str:
        name = self.person().split()[0].lower()
        return f"{name}@{self.noun()}.{self.rng.choice(['com', 'org', 'net', 'io', 'de'])}"

    def url(self) -> str:
        tail = f"/{self.noun()}" if self.rng.random() < 0.4 else ""
        return f"https://{self.noun()}.{self.rng.choice(['com', 'org', 'net', 'io', 'de'])}{tail}"

    def date(self) -> str:
        rng = self.rng
        day = f"{rng.randint(2020, 2031)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"
        weekday = rng.choice(DAYS.split())
        clock = f"{rng.randint(0, 23):02d}:{rng.choice(['00', '15', '30', '45'])}"
        return rng.choice([day, weekday, clock])

    def expression(self) -> str:
        rng = self.rng
        terms = [str(self.integer()) for _ in range(rng.randint(2, 3))]
        joined = terms[0]
        for term in terms[1:]:
            joined += rng.choice([" + ", " - ", " * ", " / ", "+", "*"]) + term
        return joined

    def integer(self) -> int:
        return self.rng.choice([self.rng.randint(0, 12), self.rng.randint(2, 99), self.rng.randint(100, 9999)])

    def number(self) -> float | int:
        if self.rng.random() < 0.5:
            return self.integer()
        return self.rng.choice([self.rng.randint(0, 99) + 0.5, self.rng.randint(1, 9999) / 100])

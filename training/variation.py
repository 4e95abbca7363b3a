"""Variation of questions: synonyms, word order, keywords in frames, typing errors."""

import math
import random
import re
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.held_out import Topic, held_out

ENDING = re.compile(r"(ings?|ed|ers?|es|s|ions?|able|e)$")
"""Word endings that `endings` can replace. A stem keeps at least four letters."""


def normal(text: str) -> str:
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))


@dataclass(frozen=True)
class Lesson:
    """A topic without its held-out phrasings."""

    id: str
    answer: str
    thought: str
    phrasings: list[str]
    keywords: list[str]


def lessons(topics: list[Topic]) -> list[Lesson]:
    kept = {normal(text) for topic in topics for text in held_out(topic)}
    made = []
    for topic in topics:
        phrasings = [text for text in topic.phrasings if normal(text) not in kept]
        keywords = [text for text in topic.keywords if normal(text) not in kept]
        made.append(Lesson(topic.id, topic.answer, topic.thought, phrasings, keywords))
    return made


def phrases() -> dict[str, Any]:
    return tomllib.loads((Path(__file__).parent / "phrases.toml").read_text())


class Variation:
    """Source of varied texts for the same topic."""

    def __init__(self, rng: random.Random, lessons: list[Lesson]) -> None:
        self.rng = rng
        self.words = self.weighted_words(lessons)
        self.phrases = phrases()
        self.heads = [(re.compile(pattern, re.IGNORECASE), forms) for pattern, forms in self.phrases["heads"].items()]
        self.synonyms: dict[str, list[str]] = {}
        for line in self.phrases["synonyms"]:
            words = [word.replace("_", " ") for word in line.split()]
            for word in words:
                self.synonyms.setdefault(word, []).extend(w for w in words if w != word)

    def vary(self, text: str) -> str:
        rng = self.rng
        if rng.random() < 0.45:
            text = self.head(text)
        words = text.split()
        if rng.random() < 0.5:
            words = [self.synonym(word) if rng.random() < 0.3 else word for word in words]
        words = [self.inflected(word) if rng.random() < 0.15 else word for word in words]
        if rng.random() < 0.5 and len(words) > 3:
            share = rng.choice([0.2, 0.35])
            words = [word for word in words if rng.random() > share] or words
        if rng.random() < 0.12 and len(words) > 2:
            at = rng.randrange(len(words) - 1)
            words[at], words[at + 1] = words[at + 1], words[at]
        return self.surface(" ".join(words))

    def head(self, text: str) -> str:
        for pattern, forms in self.heads:
            found = pattern.match(text)
            if found:
                return str(self.rng.choice(forms)) + text[found.end() :]
        return text

    def synonym(self, word: str) -> str:
        core = word.strip("?,.!").lower()
        return word.lower().replace(core, self.rng.choice(self.synonyms[core])) if core in self.synonyms else word

    def inflected(self, word: str) -> str:
        """Return the word with another ending, which need not be correct."""
        stem = ENDING.sub("", word)
        return stem + self.rng.choice(self.phrases["endings"]) if len(stem) > 3 and word.isalpha() else word

    def surface(self, text: str) -> str:
        """Return the text with varied case and punctuation, an opening or closing, and at most one typing error."""
        rng = self.rng
        if rng.random() < 0.12:
            text = rng.choice(self.phrases["openings"]) + text
        if rng.random() < 0.12:
            text = text.rstrip("?.! ") + rng.choice(self.phrases["closings"]) + rng.choice(["?", ""])
        roll = rng.random()
        if roll < 0.35:
            text = text.lower()
        elif roll < 0.6 and text:
            text = text[0].upper() + text[1:]
        elif roll < 0.62:
            text = text.upper()
        if rng.random() < 0.3:
            text = text.rstrip("?.! ")
        elif rng.random() < 0.15:
            text = text.rstrip("?.! ") + rng.choice(["?", ".", "!", " ?", "??"])
        if rng.random() < 0.08 and len(text) > 8:
            at = rng.randrange(1, len(text) - 2)
            swap = text[at + 1] + text[at]
            text = text[:at] + rng.choice([text[at + 1 : at + 2], text[at] * 2 + text[at + 1], swap]) + text[at + 2 :]
        return text

    def ask(self, lesson: Lesson) -> str:
        rng = self.rng
        roll = rng.random()
        if roll < 0.4 or not lesson.keywords:
            return self.vary(rng.choice(lesson.phrasings))
        if roll < 0.6:
            first, second = rng.choice(lesson.keywords), rng.choice(lesson.keywords)
            return self.surface(rng.choice(self.phrases["frames"]).format(k=first, j=second))
        if roll < 0.92:
            return self.surface(self.bag(lesson))
        words = rng.choice(lesson.phrasings).split()
        start = rng.randrange(max(1, len(words) - 2))
        part = " ".join(words[start : start + rng.randint(2, 6)])
        frame = rng.choice(["{p} {k}", "{k} {p}", "{k}: {p}"])
        return self.surface(frame.format(p=part, k=rng.choice(lesson.keywords)))

    def bag(self, lesson: Lesson) -> str:
        """Return a few words of the topic, mostly distinctive ones, shuffled with filler words."""
        rng = self.rng
        words, weights = self.words[lesson.id]
        chosen = rng.choices(words, weights, k=rng.choice([1, 2, 3, 3, 4, 5, 6]))
        chosen = [self.inflected(word) if rng.random() < 0.15 else word for word in chosen]
        chosen += rng.choices(self.phrases["fillers"], k=rng.choice([0, 0, 1, 2, 3]))
        rng.shuffle(chosen)
        return " ".join(chosen)

    @staticmethod
    def weighted_words(lessons: list[Lesson]) -> dict[str, tuple[list[str], list[float]]]:
        """Return the words of each topic with weights that decrease with the number of topics that share the word."""
        words = {lesson.id: " ".join(lesson.phrasings + lesson.keywords).split() for lesson in lessons}
        spread = Counter(word for owned in words.values() for word in {normal(word) for word in owned})
        return {
            owner: (owned, [math.log(1 + len(lessons) / spread[normal(word)]) for word in owned])
            for owner, owned in words.items()
        }

"""Training samples: questions and tool use, within conversations of different kinds."""

import random
import tomllib
from pathlib import Path

from training.facts.generated import PREFIX
from training.facts.topics import all_topics
from training.held_out import Topic, held_out
from training.record import OTHER
from training.sample import ChatMessage, Sample, ToolSchema
from training.tool_use import ToolSamples, user
from training.tools import ToolMaker
from training.variation import Lesson, Variation, lessons, normal

UNKNOWN = "unknown-lmx"
"""Id of the topic for questions about lmx that no other topic answers."""
FITS = "A tool fits: I call it."
ANSWERED = "The tool has answered: I pass it on."


class Corpus:
    """Source of endless samples, reproducible by its seed."""

    def __init__(self, topics: list[Topic], rng: random.Random, maker: ToolMaker) -> None:
        self.rng = rng
        self.maker = maker
        self.toolbox = ToolSamples(maker, most=5)
        self.held_out = {normal(text) for topic in topics for text in held_out(topic)}
        everything = lessons(topics)
        self.variation = Variation(rng, everything)
        self.lessons = [lesson for lesson in everything if lesson.id != OTHER]
        self.other = next(lesson for lesson in everything if lesson.id == OTHER)
        self.weights = [weight_of(lesson.id) for lesson in self.lessons]
        self.topic_words = {
            word for lesson in self.lessons for text in lesson.keywords for word in text.lower().split()
        }
        self.systems = tomllib.loads((Path(__file__).parent / "systems.toml").read_text())

    @classmethod
    def load(cls, seed: int, maker: ToolMaker) -> "Corpus":
        return cls(list(all_topics()), random.Random(seed), maker)

    def question(self) -> Sample:
        """Return a sample with a question about lmx or about another subject, within a conversation."""
        rng = self.rng
        lesson = self.other if rng.random() < 0.16 else rng.choices(self.lessons, self.weights)[0]
        tools: list[ToolSchema] = []
        if lesson is self.other and rng.random() < 0.4:
            task = self.maker.task()
            text = self.variation.surface(task.request)
            if rng.random() < 0.6:
                tools = [other.tool for other in self.toolbox.unrelated(task, rng.choice([1, 1, 2]))]
        else:
            text = self.text(lesson)
            if rng.random() < 0.1:
                tools = [other.tool for other in self.toolbox.unrelated(None, rng.choice([1, 1, 2]))]
        thought = lesson.thought if rng.random() < 0.2 else None
        messages = [*self.earlier(0.1), user(text)]
        return self.with_system(Sample(messages, lesson.answer, tools, thought, "question"), 0.12)

    def text(self, lesson: Lesson) -> str:
        while True:
            text = self.unknown() if lesson.id == UNKNOWN and self.rng.random() < 0.7 else self.variation.ask(lesson)
            if text.strip() and normal(text) not in self.held_out:
                return text

    def unknown(self) -> str:
        """Return a question about something that lmx does not have, made of words that no topic has."""
        rng, bank = self.rng, self.maker.bank
        nouns = [rng.choice(bank.nouns) for _ in range(8)]
        free = [noun for noun in nouns if noun not in self.topic_words] or ["goat"]
        frame = rng.choice(self.variation.phrases["unknown"])
        return self.variation.surface(frame.format(n=free[0], m=free[-1], v=rng.choice(bank.verbs)))

    def earlier(self, share: float) -> list[ChatMessage]:
        rng = self.rng
        if rng.random() > share:
            return []
        if rng.random() < 0.4:
            question, answer = rng.choice(self.variation.phrases["small_talk"])
        else:
            lesson = rng.choice([*self.lessons, self.other])
            question, answer = rng.choice(lesson.phrasings), lesson.answer
        return [user(question), {"role": "assistant", "content": answer}]

    def tool_use(self) -> Sample:
        rng = self.rng
        roll = rng.random()
        sample = (
            self.toolbox.follow_up() if roll < 0.18 else self.toolbox.typed() if roll < 0.26 else self.toolbox.call()
        )
        if sample.kind == "typed":
            return self.with_system(sample, 0.12)
        thought = None
        if rng.random() < 0.12:
            thought = ANSWERED if sample.kind == "follow_up" else FITS
        messages = [*self.earlier(0.06), *sample.messages]
        return self.with_system(Sample(messages, sample.answer, sample.tools, thought, sample.kind), 0.12)

    def with_system(self, sample: Sample, share: float) -> Sample:
        rng = self.rng
        if rng.random() > share:
            return sample
        roll = rng.random()
        if roll < 0.5:
            text = rng.choice(self.systems["short"])
        elif roll < 0.9:
            text = self.filled(rng.choice(self.systems["frames"]))
        else:
            count = rng.choice([2, 2, 3, 4, 6, 10])
            text = rng.choice([" ", "\n", "\n- "]).join(self.filled(t) for t in rng.sample(self.systems["long"], count))
        message = {"role": "system", "content": text}
        return Sample([message, *sample.messages], sample.answer, sample.tools, sample.thought, sample.kind)

    def filled(self, frame: str) -> str:
        rng, bank = self.rng, self.maker.bank
        words = {"a": bank.adjectives, "n": bank.nouns, "m": bank.nouns, "p": bank.people, "c": bank.places}
        chosen = {key: rng.choice(choices) for key, choices in words.items()}
        return frame.format(**chosen, h=rng.randint(10, 23), i=rng.randint(10, 59))

    def training_texts(self) -> list[str]:
        return [text for lesson in [*self.lessons, self.other] for text in [*lesson.phrasings, *lesson.keywords]]

    def prose(self) -> list[str]:
        """Return all texts about lmx for the tokenizer, repeated in proportion to their share of training."""
        texts = self.training_texts() * 3
        for lesson in [*self.lessons, self.other]:
            texts += [lesson.answer] * 10 + [lesson.thought] * 4
        return texts


def weight_of(id: str) -> float:
    """Return how often a topic is asked about, relative to a written topic."""
    return 0.4 if id.startswith(PREFIX) else 4.0 if id == UNKNOWN else 1.0

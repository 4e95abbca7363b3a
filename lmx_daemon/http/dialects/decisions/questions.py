"""A question as a prompt, its labels, and the statistics of an answer. Pure.

The prompt is one message of the user: first what the question is about, so that all questions on it and a chat that
begins with it share their prefix, then the question, a line for each label, and what to answer. A label is one letter
or digit, or `yes` or `no`: one token in most vocabularies, so that no option is favoured for its length.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
PREDICATE = ("yes", "no")


@dataclass(frozen=True)
class Question:
    """A question with the labels of its options, and a text for each label; "" for a label that speaks for itself."""

    instructions: str
    labels: tuple[str, ...]
    texts: tuple[str, ...]
    kind: str = "option"
    """Word for a label in the prompt: "option" or "level"."""

    def prompt(self) -> str:
        """Return the part of the message that follows the text which the question is about."""
        lines = [f"{label}: {text}" for label, text in zip(self.labels, self.texts, strict=True) if text]
        question = [f"Question: {self.instructions}"] if self.instructions else []
        return "\n".join(("", "", *question, *lines, self._closing()))

    def _closing(self) -> str:
        if self.labels == PREDICATE:
            return "Answer with yes or no only."
        return f"Answer with the label of one {self.kind} only: {self.labels[0]} to {self.labels[-1]}."


def letters(count: int) -> tuple[str, ...]:
    """Return labels for options: letters, or pairs of them for more options than letters."""
    if count <= len(LETTERS):
        return tuple(LETTERS[:count])
    pairs = [first + second for first in LETTERS for second in LETTERS]
    return tuple(pairs[:count])


def described(name: str, description: str | None) -> str:
    """Return the text of an option."""
    return f"{name} - {description}" if description else name


def probabilities(logprobs: Sequence[float]) -> list[float]:
    """Return probabilities in proportion to those of the options, with the sum 1."""
    most = max(logprobs)
    weights = [math.exp(logprob - most) for logprob in logprobs]
    return [weight / math.fsum(weights) for weight in weights]


def choice_confidence(found: Sequence[float]) -> float:
    """Return the confidence of a choice: 0 if all options are equally likely, 1 if one is certain."""
    if len(found) == 1:
        return 1.0
    return min(1.0, max(0.0, (len(found) * max(found) - 1) / (len(found) - 1)))


def score_confidence(found: Sequence[float]) -> float:
    """Return the confidence of a score: 1 if one level is certain, 0 if the levels spread like equal ones or more.

    It compares the mean distance from that level with the mean distance of equal probabilities from the middle.
    """
    if len(found) == 1:
        return 1.0
    likeliest, middle = found.index(max(found)), (len(found) - 1) / 2
    distance = math.fsum(value * abs(level - likeliest) for level, value in enumerate(found))
    equal = math.fsum(abs(level - middle) for level in range(len(found))) / len(found)
    return min(1.0, max(0.0, 1 - distance / equal))


def mean_level(found: Sequence[float]) -> float:
    """Return the expected level, counted from 0."""
    return math.fsum(level * value for level, value in enumerate(found))

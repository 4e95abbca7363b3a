"""Conversion of samples to arrays: weights of answer tokens, and micro-batches of rows with similar lengths."""

import random
import re
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.corpus import Corpus
from training.plan import TrainingPlan
from training.sample import Renderer, Sample, thinking
from training.tokenizer import END

PADDING = 0
SETTLED = 0.25
"""Weight of an answer token that is determined by the tokens before it."""


@dataclass(frozen=True)
class EncodedSample:
    """Token ids of a prompt with its answer."""

    ids: list[int]
    first: int
    """Index of the first answer token."""
    weights: list[float]
    """Weight of each answer token in the loss."""


@dataclass(frozen=True)
class PaddedBatch:
    """Right-padded rows, and the positions, targets and weights of their answer tokens."""

    ids: NDArray[np.int32]
    places: NDArray[np.int32]
    """Flat indices (row * length + position) whose next token is a target."""
    targets: NDArray[np.int32]
    weights: NDArray[np.float32]


class Branches:
    """Prefixes of the fixed answers, with the tokens that can follow each.

    A token is a decision where more than one token can follow, because the answers differ from there on.
    """

    def __init__(self, corpus: Corpus, renderer: Renderer) -> None:
        self.following: dict[tuple[int, ...], set[int]] = defaultdict(set)
        for lesson in [*corpus.lessons, corpus.other]:
            for text in (lesson.answer, thinking(lesson.thought) + lesson.answer):
                ids = renderer.tokenizer.encode(text + END, add_special_tokens=False).ids
                for at, token in enumerate(ids):
                    self.following[tuple(ids[:at])].add(token)

    def weights(self, ids: list[int]) -> list[float]:
        open_ended = [1.0 if len(self.following[tuple(ids[:at])]) > 1 else SETTLED for at in range(len(ids))]
        open_ended[0] = 1.5
        return open_ended


class Batches:
    """Source of micro-batches from a corpus, in pools. The samples of a pool depend on the seed and its index only."""

    def __init__(self, corpus: Corpus, renderer: Renderer, plan: TrainingPlan) -> None:
        self.corpus = corpus
        self.renderer = renderer
        self.plan = plan
        self.rng = random.Random()
        self.branches = Branches(corpus, renderer)
        self.made: tuple[int, list[list[PaddedBatch]]] = (-1, [])

    def reseed(self, place: object) -> None:
        """Make all samples after this call depend on the seed of the plan and on `place`."""
        for name, rng in (("rows", self.rng), ("corpus", self.corpus.rng), ("tools", self.corpus.maker.rng)):
            rng.seed(f"{self.plan.seed}:{place}:{name}")

    def row(self, sample: Sample) -> EncodedSample:
        prompt, answer = self.renderer.encode(sample)
        if sample.kind == "typed":
            return EncodedSample(prompt + answer, len(prompt), self.weights_of_values(sample.output))
        if sample.kind != "question":
            return EncodedSample(prompt + answer, len(prompt), [1.0] * len(answer))
        weights = self.branches.weights(answer)
        if self.rng.random() < 0.8:
            # After its last decision an answer is fixed, so that most samples can omit the rest.
            last = max(at for at, weight in enumerate(weights) if weight >= 1.0)
            answer, weights = answer[: last + 3], weights[: last + 3]
        return EncodedSample(prompt + answer, len(prompt), weights)

    def weights_of_values(self, output: str) -> list[float]:
        """Return the weights of an answer in JSON. Keys and signs weigh nothing, because the engine enforces them."""
        encoding = self.renderer.tokenizer.encode(output + END, add_special_tokens=False)
        forced = [found.span() for found in re.finditer(r'"[^"]*": "?|^\{|"?\}$', output)]
        return [
            0.0 if any(start <= place[0] and place[1] <= end for start, end in forced) else 1.0
            for place in encoding.offsets
        ]

    def rows(self, tool_share: float) -> list[EncodedSample]:
        made = []
        for _ in range(self.plan.pool):
            tools = self.rng.random() < tool_share
            made.append(self.row(self.corpus.tool_use() if tools else self.corpus.question()))
        return made

    def groups(self, pool: int, tool_share: float) -> list[list[PaddedBatch]]:
        """Return the micro-batches of each step of a pool. Rows are sorted by length, which keeps padding small."""
        if self.made[0] != pool:
            self.reseed(pool)
            self.made = (pool, self.make(tool_share))
        return self.made[1]

    def make(self, tool_share: float) -> list[list[PaddedBatch]]:
        rows = sorted(self.rows(tool_share), key=lambda row: len(row.ids))
        batches, start = [], 0
        for end in range(1, len(rows) + 1):
            if end == len(rows) or (end + 1 - start) * len(rows[end].ids) > self.plan.budget:
                batches.append(collate(rows[start:end]))
                start = end
        self.rng.shuffle(batches)
        return [batches[at : at + 2] for at in range(0, len(batches), 2)]


def collate(rows: list[EncodedSample]) -> PaddedBatch:
    length = max(len(row.ids) for row in rows) - 1
    ids = np.full((len(rows), length), PADDING, np.int32)
    places: list[int] = []
    targets: list[int] = []
    weights: list[float] = []
    for at, row in enumerate(rows):
        ids[at, : len(row.ids) - 1] = row.ids[:-1]
        places += range(at * length + row.first - 1, at * length + len(row.ids) - 1)
        targets += row.ids[row.first :]
        weights += row.weights
    return PaddedBatch(ids, np.array(places, np.int32), np.array(targets, np.int32), np.array(weights, np.float32))

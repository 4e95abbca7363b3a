"""TF-IDF nearest neighbour over the training texts of the guide, as a baseline that needs no training."""

import itertools
import re
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from training.variation import Lesson, phrases


class Neighbour:
    """Classifier by cosine similarity of words (and word pairs) between a question and every training text."""

    def __init__(self, lessons: list[Lesson], pairs: bool = False) -> None:
        self.pairs = pairs
        texts = [(text, lesson.id) for lesson in lessons for text in training_texts(lesson)]
        self.owners = [owner for _, owner in texts]
        counts = [Counter(self.terms(text)) for text, _ in texts]
        document_counts = Counter(term for count in counts for term in count)
        self.columns = {term: at for at, term in enumerate(document_counts)}
        frequencies = np.array(list(document_counts.values()), np.float64)
        self.rarity = np.log((1 + len(texts)) / (1 + frequencies)) + 1
        self.rows = np.stack([self.vector(count) for count in counts])

    def terms(self, text: str) -> list[str]:
        words = re.findall(r"[a-z0-9]+", text.lower())
        return words + ([f"{a} {b}" for a, b in itertools.pairwise(words)] if self.pairs else [])

    def vector(self, count: Counter[str]) -> NDArray[np.float32]:
        row = np.zeros(len(self.columns), np.float32)
        for term, number in count.items():
            if term in self.columns:
                row[self.columns[term]] = number * self.rarity[self.columns[term]]
        return row / max(float(np.linalg.norm(row)), 1e-9)

    def topic(self, question: str) -> str:
        return self.owners[int(np.argmax(self.rows @ self.vector(Counter(self.terms(question)))))]


def training_texts(lesson: Lesson) -> list[str]:
    """Return phrasings, keywords, and keywords in every tenth frame. More frames would only repeat the same words."""
    framed = [frame.format(k=word, j=word) for frame in phrases()["frames"][::10] for word in lesson.keywords]
    return [*lesson.phrasings, *lesson.keywords, *framed]

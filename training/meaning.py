"""Draws what words have to do with which topics into fresh embeddings, so that training starts from it.

The guide reads some five thousand short phrases and must understand others: from random embeddings it learns
those phrases by heart (24 % of held-out questions right), because nothing tells it that words count and their
order hardly does. So a token's first channels are its latent semantic analysis (Deerwester et al. 1990) over
topics: positive mutual information of token and topic, cut to its strongest directions.
"""

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from training.corpus import Corpus

SHIFT = 0.7
"""Mutual information, in nats, below which a token says nothing of a topic."""
STEM = 5
"""Tokens with so many first letters in common lend each other their counts."""
LENT = 0.6
TEXTS = 120
"""Varied questions read for each topic, beside its phrasings and keywords."""


def meanings(tokenizer: Tokenizer, corpus: Corpus, size: int) -> NDArray[np.float64]:
    """One row of `size` numbers for each token, with a mean square of one."""
    information = mutual_information(shared(tokenizer, counts(tokenizer, corpus)))
    left, strengths, _ = np.linalg.svd(information, full_matrices=False)
    rows: NDArray[np.float64] = left[:, :size] * np.sqrt(strengths[:size])
    rows /= np.sqrt((rows**2).mean())
    return rows


def counts(tokenizer: Tokenizer, corpus: Corpus) -> NDArray[np.float64]:
    """In how many texts of a topic a token stands, [vocabulary, topics]."""
    lessons = [*corpus.lessons, corpus.other]
    found = np.zeros((tokenizer.get_vocab_size(), len(lessons)))
    for column, lesson in enumerate(lessons):
        texts = [corpus.text(lesson) for _ in range(TEXTS)] + 3 * (lesson.phrasings + lesson.keywords)
        for encoding in tokenizer.encode_batch(texts, add_special_tokens=False):
            found[sorted(set(encoding.ids)), column] += 1
    return found


def shared(tokenizer: Tokenizer, found: NDArray[np.float64]) -> NDArray[np.float64]:
    """Counts with those of other forms of the same word: with a space before it, capital, inflected."""
    families: dict[str, list[int]] = defaultdict(list)
    for token in range(len(found)):
        word = tokenizer.decode([token]).strip().lower()
        if word:
            families[word[:STEM] if word.isalpha() else word].append(token)
    lent = found.copy()
    for tokens in families.values():
        if len(tokens) > 1:
            lent[tokens] += LENT * found[tokens].sum(axis=0)
    return lent


def mutual_information(found: NDArray[np.float64]) -> NDArray[np.float64]:
    share = found / found.sum()
    expected = share.sum(axis=1, keepdims=True) * share.sum(axis=0, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        information = np.log(share / expected) - SHIFT
    positive: NDArray[np.float64] = np.where(found > 0, np.maximum(information, 0.0), 0.0)
    return positive

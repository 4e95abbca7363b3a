"""Initial embeddings that represent the relation of tokens to topics.

The training data has about five thousand short phrases, and the guide must generalise to others. From random embeddings
it memorises the phrases (24 % of the held-out questions are correct), because nothing favours words over their order.
Therefore the first channels of a token hold its latent semantic analysis over topics (Deerwester et al. 1990): the
positive pointwise mutual information of token and topic, reduced to its strongest directions.
"""

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from training.corpus import Corpus

SHIFT = 0.7
"""Mutual information in nats below which a token counts as unrelated to a topic."""
STEM = 5
"""Number of leading letters that word forms must have in common to share their counts."""
SHARED = 0.6
"""Weight of the counts of other forms of a word."""
TEXTS = 120
"""Number of varied questions counted for each topic, besides its phrasings and keywords."""


def meanings(tokenizer: Tokenizer, corpus: Corpus, size: int) -> NDArray[np.float64]:
    """Return an array [vocabulary, size] with a mean square of one."""
    information = mutual_information(shared(tokenizer, counts(tokenizer, corpus)))
    left, strengths, _ = np.linalg.svd(information, full_matrices=False)
    rows: NDArray[np.float64] = left[:, :size] * np.sqrt(strengths[:size])
    rows /= np.sqrt((rows**2).mean())
    return rows


def counts(tokenizer: Tokenizer, corpus: Corpus) -> NDArray[np.float64]:
    """Return the number of texts of each topic that contain each token, [vocabulary, topics]."""
    lessons = [*corpus.lessons, corpus.other]
    found = np.zeros((tokenizer.get_vocab_size(), len(lessons)))
    for column, lesson in enumerate(lessons):
        texts = [corpus.text(lesson) for _ in range(TEXTS)] + 3 * (lesson.phrasings + lesson.keywords)
        for encoding in tokenizer.encode_batch(texts, add_special_tokens=False):
            found[sorted(set(encoding.ids)), column] += 1
    return found


def shared(tokenizer: Tokenizer, found: NDArray[np.float64]) -> NDArray[np.float64]:
    """Add the counts of other forms of the same word: with a leading space, capitalised, inflected."""
    families: dict[str, list[int]] = defaultdict(list)
    for token in range(len(found)):
        word = tokenizer.decode([token]).strip().lower()
        if word:
            families[word[:STEM] if word.isalpha() else word].append(token)
    total = found.copy()
    for tokens in families.values():
        if len(tokens) > 1:
            total[tokens] += SHARED * found[tokens].sum(axis=0)
    return total


def mutual_information(found: NDArray[np.float64]) -> NDArray[np.float64]:
    share = found / found.sum()
    expected = share.sum(axis=1, keepdims=True) * share.sum(axis=0, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        information = np.log(share / expected) - SHIFT
    positive: NDArray[np.float64] = np.where(found > 0, np.maximum(information, 0.0), 0.0)
    return positive

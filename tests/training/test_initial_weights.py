"""Effect of the initial weights before the first step of training."""

import random

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.models.qwen3 import Model
from tokenizers import Tokenizer

from training import model as shape
from training import tokenizer as words
from training.circuits.channels import MEANING
from training.circuits.meaning import meanings
from training.corpus import Corpus
from training.inference import GUIDE
from training.tools import ToolMaker
from training.words import banks


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(GUIDE / "tokenizer.json"))


@pytest.fixture(scope="module")
def initial(tokenizer: Tokenizer) -> np.ndarray:
    corpus = Corpus.load(1, ToolMaker(random.Random(1), banks()[0]))
    return meanings(tokenizer, corpus, MEANING.stop - MEANING.start)


@pytest.fixture(scope="module")
def fresh(tokenizer: Tokenizer, initial: np.ndarray) -> Model:
    mx.set_default_device(mx.cpu)
    model, circuit = shape.create(initial, sink(tokenizer), seed=1)
    circuit.enable()
    return model


def sink(tokenizer: Tokenizer) -> int:
    return tokenizer.encode(words.START, add_special_tokens=False).ids[0]


def test_words_of_one_topic_are_closer_than_words_of_different_topics(
    tokenizer: Tokenizer, initial: np.ndarray
) -> None:
    def meaning(word: str) -> np.ndarray:
        total = initial[tokenizer.encode(" " + word, add_special_tokens=False).ids].sum(axis=0)
        return total / np.linalg.norm(total)

    for first, second, stranger in [("theme", "dark", "licence"), ("licence", "MIT", "theme")]:
        assert meaning(first) @ meaning(second) > meaning(first) @ meaning(stranger) + 0.2


def test_repeated_random_tokens_are_copied(tokenizer: Tokenizer, fresh: Model) -> None:
    rng = random.Random(2)
    right = total = 0
    for _ in range(8):
        once = [rng.randrange(300, tokenizer.get_vocab_size()) for _ in range(20)]
        logits = fresh(mx.array([[sink(tokenizer), *once, *once[:-1]]]))
        predicted = mx.argmax(logits[0, 22:], axis=-1).tolist()
        right += sum(a == b for a, b in zip(predicted, once[2:], strict=True))
        total += len(predicted)
    assert right / total > 0.05, "chance is 1 in 4096"

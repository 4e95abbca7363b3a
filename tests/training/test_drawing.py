"""What is drawn into fresh weights does its work before the first step of training."""

import random

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.models.qwen3 import Model
from tokenizers import Tokenizer

from training import model as shape
from training import tokenizer as words
from training.channels import MEANING
from training.corpus import Corpus
from training.meaning import meanings
from training.tools import ToolMaker
from training.train import GUIDE
from training.words import banks


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(GUIDE / "tokenizer.json"))


@pytest.fixture(scope="module")
def drawn(tokenizer: Tokenizer) -> np.ndarray:
    corpus = Corpus.load(1, ToolMaker(random.Random(1), banks()[0]))
    return meanings(tokenizer, corpus, MEANING.stop - MEANING.start)


@pytest.fixture(scope="module")
def fresh(tokenizer: Tokenizer, drawn: np.ndarray) -> Model:
    mx.set_default_device(mx.cpu)
    model, circuit = shape.create(drawn, nowhere(tokenizer), seed=1)
    circuit.speak()
    return model


def nowhere(tokenizer: Tokenizer) -> int:
    return tokenizer.encode(words.START, add_special_tokens=False).ids[0]


def test_words_of_one_topic_are_nearer_to_each_other_than_to_those_of_another(
    tokenizer: Tokenizer, drawn: np.ndarray
) -> None:
    def meaning(word: str) -> np.ndarray:
        total = drawn[tokenizer.encode(" " + word, add_special_tokens=False).ids].sum(axis=0)
        return total / np.linalg.norm(total)

    for first, second, stranger in [("theme", "dark", "licence"), ("licence", "MIT", "theme")]:
        assert meaning(first) @ meaning(second) > meaning(first) @ meaning(stranger) + 0.2


def test_random_tokens_said_twice_are_copied(tokenizer: Tokenizer, fresh: Model) -> None:
    rng = random.Random(2)
    right = total = 0
    for _ in range(8):
        once = [rng.randrange(300, tokenizer.get_vocab_size()) for _ in range(20)]
        logits = fresh(mx.array([[nowhere(tokenizer), *once, *once[:-1]]]))
        said = mx.argmax(logits[0, 22:], axis=-1).tolist()
        right += sum(a == b for a, b in zip(said, once[2:], strict=True))
        total += len(said)
    assert right / total > 0.05, "chance is 1 in 4096"

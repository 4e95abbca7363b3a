"""Random texts: none adds a control token to a prompt, for every kind of tokenizer and every family's template."""

import random

import pytest
from hypothesis import HealthCheck, given, settings

from tests.engines.mlx.text.prompts.renderers import Templates, each_source
from tests.engines.mlx.text.prompts.test_control_tokens import MARKER, WORDS, check_family, check_words
from tests.engines.mlx.text.prompts.tokenizers import KINDS

pytestmark = pytest.mark.slow
ROUNDS = 4
"""Number of random mixtures of markers for each family's template."""


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(words=WORDS)
def test_no_text_adds_a_control_token_to_the_prompt(kind: str, words: str) -> None:
    check_words(kind, words.encode("utf-8", "replace").decode())


@each_source
def test_no_mixture_of_markers_adds_a_control_token_to_any_prompt(templates: Templates) -> None:
    chance = random.Random(7)
    for name, template in templates().items():
        markers = sorted(set(MARKER.findall(template)))
        pieces = [*markers, *(marker[: len(marker) // 2] for marker in markers), " ", "\n", "a", "<", "|", '"', "\\"]
        for _ in range(ROUNDS):
            words = "".join(chance.choices(pieces, k=12)) + "."
            try:
                check_family(template, f"x{words}")
            except AssertionError as error:
                raise AssertionError(f"{name}: {words!r}") from error

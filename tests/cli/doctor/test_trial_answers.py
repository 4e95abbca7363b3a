"""The comparison of two answers to one request."""

import pytest

from lmx_cli.doctor.trial_answers import TrialAnswer, compare
from lmx_daemon.contract.errors import ErrorBody, LmxError
from lmx_daemon.contract.generation.events import Delta, Failed, Started, TokenLogprob


def answer(tokens: list[int], likely: list[dict[int, float]]) -> TrialAnswer:
    return TrialAnswer(0.0, tokens=tokens, likely=likely)


CERTAIN, TIE, TIE_ROUNDED, OTHER = {1: -0.01, 2: -5.0}, {3: -0.69, 4: -0.70}, {3: -0.71, 4: -0.68}, {3: -3.0, 4: -0.05}


def test_equal_answers_are_sound() -> None:
    found = compare([answer([1, 3], [CERTAIN, TIE])], [answer([1, 3], [CERTAIN, TIE])])
    assert (found.answers, found.equal, found.rounding, found.sound) == (1, 1, 0.0, True)


def test_other_token_of_two_equally_likely_ones_is_rounding() -> None:
    found = compare([answer([1, 3, 9], [CERTAIN, TIE, CERTAIN])], [answer([1, 4, 7], [CERTAIN, TIE_ROUNDED, OTHER])])
    assert found.equal == 0 and found.sound
    assert 0 < found.rounding < 0.02


@pytest.mark.parametrize(
    "second",
    [
        answer([1, 4], [CERTAIN, OTHER]),  # the probabilities are others
        answer([2, 3], [{2: -0.01}, TIE]),  # no token is likely in both
        answer([1], [CERTAIN]),  # an early end
        answer([1, 4], []),  # nothing to compare
    ],
)
def test_answer_with_other_probabilities_is_not_sound(second: TrialAnswer) -> None:
    first = answer([1, 3], [CERTAIN, TIE])
    assert not compare([first], [second]).sound
    assert not compare([second], [first]).sound


def test_events_become_tokens_probabilities_and_times() -> None:
    found = TrialAnswer(10.0)
    found.consume(Started(id="r", prompt_tokens=7, cached_tokens=4, seed=0), 11.0)
    top = (TokenLogprob(token="a", id=5, logprob=-0.1), TokenLogprob(token="b", id=6, logprob=None))
    found.consume(Delta(id="r", logprobs=(TokenLogprob(token="a", id=5, logprob=-0.1, top=top),)), 12.0)
    found.consume(Delta(id="r", token_ids=(8, 9)), 13.0)
    assert (found.prompt, found.cached, found.started_at, found.first_token) == (7, 4, 11.0, 2.0)
    assert found.tokens == [5, 8, 9] and found.likely == [{5: -0.1}] and found.times == [12.0, 13.0]


def test_failed_request_raises_its_error() -> None:
    with pytest.raises(LmxError, match="no memory"):
        TrialAnswer(0.0).consume(Failed(id="r", error=ErrorBody(code="out_of_memory", message="no memory")), 1.0)

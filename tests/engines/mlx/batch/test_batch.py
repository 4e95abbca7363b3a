"""The batch: every row generates the tokens that it generates alone, whatever else is in the batch, in float32."""

import functools
import random
import tempfile
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.utils import load_model

from lmx_daemon.engines.mlx.batch.batch import Batch
from lmx_daemon.engines.mlx.batch.step import Row, StepResult
from lmx_daemon.engines.mlx.prefix.cache import PrefixCache
from lmx_daemon.engines.mlx.sampling.parameters import GREEDY, SamplingParams
from tests.models import ARCHITECTURES, MORE, build_model

EVERY = sorted(ARCHITECTURES | MORE)
LENGTHS = (1, 9, 33, 40, 130)
MOST = 8
PARAMS = {
    "greedy": GREEDY,
    "sampled": SamplingParams(temperature=0.9, top_p=0.95, seed=5),
    "penalised": SamplingParams(presence_penalty=1.5, repetition_penalty=1.3, top_logprobs=2),
    "drawn and penalised": SamplingParams(temperature=0.9, frequency_penalty=2.0, repetition_penalty=1.5, seed=9),
}


@functools.cache
def model_of(architecture: str) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        return load_model(build_model(architecture, Path(folder), ends=False))[0]


def tokens_of(seed: int, length: int) -> tuple[int, ...]:
    """Return a prompt; prompts of the same seed share their first tokens."""
    generator = random.Random(seed)
    return tuple(generator.randrange(3, 480) for _ in range(length))


@functools.cache
def alone(architecture: str, prompt: tuple[int, ...]) -> list[int]:
    """Return the greedy tokens of the model itself, one call at a time."""
    model = model_of(architecture)
    cache = make_prompt_cache(model)
    logits = model(mx.array([prompt]), cache=cache)
    generated: list[int] = []
    for _ in range(MOST):
        generated.append(int(mx.argmax(logits[0, -1])))
        logits = model(mx.array([generated[-1:]]), cache=cache)
    return generated


@functools.cache
def alone_with(architecture: str, prompt: tuple[int, ...], kind: str) -> list[int]:
    """Return the tokens of a batch that has this row only."""
    batch = Batch(model_of(architecture), set(), prefill_step=4096)
    batch.add(prompt, [Row(MOST, PARAMS[kind])])
    generated: list[int] = []
    while batch.busy:
        generated += [token.token for token in batch.step().tokens]
    return generated


def test_penalty_counts_the_computing_token_while_another_row_leaves() -> None:
    expected = alone_with("llama", tokens_of(0, 9), "drawn and penalised")
    for most in range(1, MOST):
        batch = Batch(model_of("llama"), set(), prefill_step=4096)
        (row,) = batch.add(tokens_of(0, 9), [Row(MOST, PARAMS["drawn and penalised"])])
        batch.add(tokens_of(1, 9), [Row(most, GREEDY)])
        generated = []
        while batch.busy:
            generated += [token.token for token in batch.step().tokens if token.row is row]
        assert generated == expected


def test_no_memory_is_held_after_the_last_row_leaves() -> None:
    for steps in range(4):
        batch = Batch(model_of("llama"), set(), prefill_step=16)
        rows = batch.add(tokens_of(0, 40), [Row(MOST, GREEDY) for _ in range(2)])
        for _ in range(steps):
            batch.step()
        batch.remove(rows)
        assert not batch.busy and batch.cache_bytes == 0


class Schedule(RuleBasedStateMachine):
    """Random joins, ends, cancellations and cache hits; every token is checked when it is read.

    The number of steps of a prompt depends on the machine's speed, so no random choice may depend on the rows present.
    """

    architecture = "llama"

    def __init__(self) -> None:
        super().__init__()
        self.batch = Batch(model_of(self.architecture), set(), prefill_step=32)
        self.prefixes = PrefixCache(600_000)
        self.rows: dict[Row, tuple[list[int], int]] = {}
        """For each row, its expected tokens and the number of those read."""

    @rule(
        seed=st.integers(0, 2),
        length=st.sampled_from(LENGTHS),
        most=st.integers(1, MOST),
        choices=st.sampled_from((1, 1, 2, 5)),
        kind=st.sampled_from(("greedy", *PARAMS)),
    )
    def add(self, seed: int, length: int, most: int, choices: int, kind: str) -> None:
        prompt = tokens_of(seed, length)
        known = alone(self.architecture, prompt) if kind == "greedy" else None
        expected = known or alone_with(self.architecture, prompt, kind)
        hit = self.prefixes.find("", list(prompt))
        rows = [Row(most, PARAMS[kind]) for _ in range(choices)]
        self.batch.add(prompt, rows, hit.cache if hit else None, hit.length if hit else 0)
        self.rows |= {row: (expected[:most], 0) for row in rows}

    @rule(steps=st.integers(1, 6))
    def step(self, steps: int) -> None:
        for _ in range(steps):
            self.check(self.batch.step())

    @rule(place=st.integers(0, 31))
    def cancel(self, place: int) -> None:
        if not self.rows:
            return
        row = list(self.rows)[place % len(self.rows)]
        taken = self.batch.extract(row)
        if taken is not None:
            self.prefixes.store("", *taken)
        self.batch.remove([row])
        del self.rows[row]
        assert self.batch.rows == len(self.rows)

    def check(self, step: StepResult) -> None:
        assert not step.failed
        for token in step.tokens:
            expected, count = self.rows[token.row]
            assert token.token == expected[count], f"{self.architecture}: token {count} of {expected}"
            self.rows[token.row] = expected, count + 1
            assert (token.reason is not None) == (count + 1 == len(expected))
            if token.reason is not None:
                del self.rows[token.row]
                assert token.cache is not None
                self.prefixes.store("", token.row.held, token.cache)

    def teardown(self) -> None:
        for _ in range(2000):
            if not self.batch.busy:
                break
            self.check(self.batch.step())
        assert not self.rows and not self.batch.rows
        assert self.batch.cache_bytes == 0


def run_schedules(architecture: str, examples: int, steps: int) -> None:
    machine = type("Schedule", (Schedule,), {"architecture": architecture})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            phases=[Phase.generate] if examples < 50 else [Phase.generate, Phase.shrink],
            derandomize=examples < 50,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("architecture", EVERY)
def test_row_generates_the_tokens_that_it_generates_alone(architecture: str) -> None:
    run_schedules(architecture, 2, 15)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", EVERY)
def test_row_generates_the_tokens_that_it_generates_alone_in_long_runs(architecture: str) -> None:
    run_schedules(architecture, 100, 60)


@pytest.mark.parametrize("architecture", ("llama", "gemma3_text", "falcon_h1"))
def test_rows_in_reused_slots_generate_the_tokens_that_they_generate_alone(architecture: str) -> None:
    """Twelve rows of all lengths at a time; a row that ends is replaced, and some are removed early."""
    generator = random.Random(3)
    batch = Batch(model_of(architecture), set(), prefill_step=4096)
    left: dict[Row, list[int]] = {}
    for count in range(60):
        prompt = tokens_of(generator.randrange(3), generator.choice(LENGTHS))
        most, choices = generator.randint(1, MOST), generator.choice((1, 1, 3))
        for row in batch.add(prompt, [Row(most, GREEDY) for _ in range(choices)]):
            left[row] = alone(architecture, prompt)[:most]
        while len(left) >= 12 or (count == 59 and left):
            for token in batch.step().tokens:
                assert token.token == left[token.row].pop(0)
                if token.reason is not None:
                    assert not left.pop(token.row)
        if generator.random() < 0.2:
            row = generator.choice(list(left))
            batch.remove([row])
            del left[row]
    assert batch.cache_bytes == 0


def test_row_that_leaves_during_a_step_causes_no_copy_of_the_others() -> None:
    batch = Batch(model_of("llama"), set(), prefill_step=4096)
    for most in (*[100] * 15, 9):
        batch.add(tokens_of(0, 600), [Row(most, GREEDY)])
    while len(batch.step().tokens) < 16:
        pass
    ended = False
    while not ended:
        before, held = mx.get_active_memory(), batch.cache_bytes
        mx.reset_peak_memory()
        ended = any(token.reason for token in batch.step().tokens)
        assert mx.get_peak_memory() - before < held / 3


def run_secrets(requests: int) -> int:
    """Run requests that are forced to three tokens of their own, and check that no other request has them.

    Return the number of requests that ended.
    """
    batch = Batch(model_of("qwen3"), set(), prefill_step=64)
    generator = random.Random(7)
    secrets: dict[Row, set[int]] = {}
    begun = ended = 0
    while begun < requests or secrets:
        while begun < requests and len(secrets) < 64:
            own = {3 + 3 * (begun % 150) + n for n in range(3)}
            bias = dict.fromkeys(own, 100.0)
            asked = {"temperature": generator.choice((0.0, 1.0)), "top_k": generator.choice((0, 40)), "bias": bias}
            prompt = tokens_of(begun, generator.choice((1, 5, 30, 90)))
            sampling = SamplingParams(**asked, seed=begun, top_logprobs=generator.choice((None, 3)))
            secrets[batch.add(prompt, [Row(generator.randint(1, 12), sampling)])[0]] = own
            begun += 1
        for token in batch.step().tokens:
            own = secrets[token.row]
            assert token.token in own
            assert token.logprobs is None or {found for found, _ in token.logprobs.top} == own
            if token.reason is not None:
                del secrets[token.row]
                ended += 1
        if secrets and generator.random() < 0.2:
            row = generator.choice(list(secrets))
            batch.remove([row])
            del secrets[row]
    return ended


def test_tokens_of_one_request_never_appear_in_another() -> None:
    assert run_secrets(200) > 120


@pytest.mark.slow
def test_tokens_of_one_request_never_appear_in_a_thousand_others() -> None:
    assert run_secrets(1500) > 1000


def test_rows_of_different_length_do_not_share_padding() -> None:
    batch = Batch(model_of("llama"), set(), prefill_step=1024)
    batch.add(tokens_of(4096, 4096), [Row(4096, GREEDY)])
    while not batch.step().tokens:
        pass
    for _ in range(31):
        batch.add(tokens_of(64, 64), [Row(4096, GREEDY)])
    while len(batch.step().tokens) < 32:
        pass
    token = 2 * 2 * 4 * 2 * 16  # two layers' keys and values, float32, two heads of 16
    assert batch.cache_bytes <= 1.3 * token * (4096 + 31 * 64)

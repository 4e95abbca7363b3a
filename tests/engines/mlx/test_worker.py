"""A real worker process with real architectures: answers, cancels and refusals."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lmx_daemon.contract.generation.events import Counted, Failed, Finished, Started
from lmx_daemon.contract.generation.requests import Count, Text, Tokens
from lmx_daemon.contract.worker.messages import Hello, Loaded, Log
from tests.engines.mlx.worker_process import WorkerProcess, chat, completion, sampled
from tests.models import ARCHITECTURES, build_model

PROMPTS = [
    "The quick brown fox jumps over the lazy dog. A model reads tokens",
    "Once upon a time",
    "0123456789 0123456789 0123456789 0123456789 and then some more words to make this one the longest of them",
    "a worker holds the model, a daemon holds the workers",
]


@pytest.fixture(scope="module")
def llama(folder: Path) -> Path:
    return build_model("llama", folder / "llama", ends=False)


@pytest.fixture(scope="module")
def worker(llama: Path) -> Iterator[WorkerProcess]:
    with WorkerProcess() as running:
        assert isinstance(running.load(llama), Loaded)
        yield running


def failure(worker: WorkerProcess, request: Any) -> Failed:
    (event,) = worker.finish(worker.submit(request))
    assert isinstance(event, Failed)
    return event


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_answers_in_a_batch_equal_the_answers_alone(architecture: str, folder: Path) -> None:
    path = build_model(architecture, folder / architecture, ends=False)
    with WorkerProcess() as worker:
        assert isinstance(worker.load(path, prefill_step=16), Loaded)
        alone = []
        for prompt in PROMPTS:
            identity = worker.submit(completion(worker, prompt, max_tokens=20, cache_namespace=f"alone {prompt}"))
            worker.finish(identity)
            alone.append(worker.tokens(identity))
        together = [worker.submit(completion(worker, prompt, max_tokens=20)) for prompt in PROMPTS]
        worker.finish(*together)
        assert [worker.tokens(identity) for identity in together] == alone
        again = [worker.submit(completion(worker, prompt, max_tokens=20)) for prompt in PROMPTS]
        worker.finish(*again)
        assert [worker.tokens(identity) for identity in again] == alone


class TestAnswers:
    def test_a_second_turn_reuses_the_first(self, worker: WorkerProcess) -> None:
        first = completion(worker, PROMPTS[0] * 4, cache_namespace="turns")
        worker.finish(worker.submit(first))
        second = worker.submit(completion(worker, PROMPTS[0] * 4 + " and so on", cache_namespace="turns"))
        other = worker.submit(completion(worker, PROMPTS[0] * 4 + " and so on", cache_namespace="elsewhere"))
        cached, fresh = worker.finish(second, other)
        assert isinstance(cached, Finished) and cached.usage.cached_tokens > 20
        assert isinstance(fresh, Finished) and fresh.usage.cached_tokens == 0
        assert worker.tokens(second) == worker.tokens(other)

    def test_a_seed_repeats_beside_other_requests(self, worker: WorkerProcess) -> None:
        ask = {"sampling": sampled(temperature=1.0, seed=11), "max_tokens": 24}
        alone = worker.submit(completion(worker, PROMPTS[1], **ask))
        worker.finish(alone)
        noise = [
            worker.submit(completion(worker, prompt, max_tokens=40, sampling=sampled(temperature=1.0)))
            for prompt in PROMPTS
        ]
        beside = worker.submit(completion(worker, PROMPTS[1], **ask))
        worker.finish(beside, *noise)
        assert worker.tokens(beside) == worker.tokens(alone)

    def test_a_drawn_seed_is_reported_and_repeats(self, worker: WorkerProcess) -> None:
        drawn = worker.submit(completion(worker, PROMPTS[1], sampling=sampled(temperature=1.0)))
        worker.finish(drawn)
        seed = next(e.seed for e in worker.events[drawn] if isinstance(e, Started))
        again = worker.submit(completion(worker, PROMPTS[1], sampling=sampled(temperature=1.0, seed=seed)))
        worker.finish(again)
        assert worker.tokens(again) == worker.tokens(drawn)

    def test_choices_differ_and_have_separate_events(self, worker: WorkerProcess) -> None:
        identity = worker.submit(
            completion(worker, PROMPTS[1], choices=3, sampling=sampled(temperature=1.0, seed=3), max_tokens=10)
        )
        (finished,) = worker.finish(identity)
        assert isinstance(finished, Finished) and len(finished.endings) == 3
        assert len({worker.text(identity, choice) for choice in range(3)}) == 3
        assert finished.usage.completion_tokens == 30

    def test_logit_bias_forces_and_bans(self, worker: WorkerProcess) -> None:
        forced = worker.submit(
            completion(worker, PROMPTS[0], sampling=sampled(temperature=0.0, logit_bias={77: 100.0}))
        )
        worker.finish(forced)
        assert set(worker.tokens(forced)) == {77}
        banned = worker.submit(
            completion(worker, PROMPTS[0], sampling=sampled(temperature=0.0, logit_bias={77: -100.0}))
        )
        worker.finish(banned)
        assert 77 not in worker.tokens(banned)

    def test_bytes_that_never_form_a_character_are_emitted(self, worker: WorkerProcess) -> None:
        import tokenizers

        path = worker.loaded_from / "tokenizer.json"
        half = tokenizers.Tokenizer.from_file(str(path)).token_to_id(
            "\u00e6"
        )  # a first byte of three, as byte-level BPE
        assert half is not None
        forced = sampled(temperature=0.0, logit_bias={half: 100.0})
        identity = worker.submit(completion(worker, PROMPTS[0], sampling=forced, max_tokens=60))
        worker.finish(identity)
        assert len(worker.deltas(identity)) > 3
        assert set(worker.text(identity)) == {"\N{REPLACEMENT CHARACTER}"}

    def test_penalties_change_a_repeating_answer(self, worker: WorkerProcess) -> None:
        plain = worker.submit(completion(worker, PROMPTS[1], max_tokens=30))
        less = worker.submit(
            completion(worker, PROMPTS[1], max_tokens=30, sampling=sampled(presence_penalty=2.0, frequency_penalty=2.0))
        )
        worker.finish(plain, less)
        assert len(set(worker.tokens(less))) > len(set(worker.tokens(plain)))

    def test_a_stop_string_across_tokens_ends_the_answer(self, worker: WorkerProcess) -> None:
        whole = worker.submit(completion(worker, PROMPTS[2], max_tokens=20))
        worker.finish(whole)
        text = worker.text(whole)
        stop = text[5:9]
        cut = worker.submit(completion(worker, PROMPTS[2], max_tokens=20, stop=(stop,)))
        (finished,) = worker.finish(cut)
        assert isinstance(finished, Finished)
        assert finished.endings[0].reason == "stop" and finished.endings[0].matched_stop == stop
        assert worker.text(cut) == text[: text.index(stop)]

    def test_logprobs_are_reported_for_requests_that_ask(self, worker: WorkerProcess) -> None:
        asked = worker.submit(completion(worker, PROMPTS[1], top_logprobs=3, max_tokens=5))
        other = worker.submit(completion(worker, PROMPTS[1], max_tokens=5))
        worker.finish(asked, other)
        found = [logprob for delta in worker.deltas(asked) for logprob in delta.logprobs]
        assert len(found) == 5
        for logprob in found:
            assert len(logprob.top) == 3 and logprob.id == logprob.top[0].id and logprob.logprob <= 0
        assert not any(delta.logprobs for delta in worker.deltas(other))

    def test_count_returns_the_tokens_of_a_prompt(self, worker: WorkerProcess) -> None:
        (counted,) = worker.finish(worker.submit(Count(id=worker.name(), model="test", prompt=Text(text=PROMPTS[0]))))
        (asked,) = worker.finish(worker.submit(completion(worker, PROMPTS[0])))
        assert isinstance(counted, Counted) and isinstance(asked, Finished)
        assert counted.tokens == asked.usage.prompt_tokens


class TestCancelling:
    def test_a_decoding_request_is_cancelled(self, worker: WorkerProcess) -> None:
        identity = worker.submit(completion(worker, PROMPTS[0], max_tokens=20_000))
        worker.read(lambda: len(worker.deltas(identity)) > 5)
        worker.cancel(identity)
        (finished,) = worker.finish(identity, seconds=2)
        assert isinstance(finished, Finished) and finished.reason == "cancelled"
        assert finished.usage.completion_tokens > 0

    def test_early_repeated_and_unknown_cancels_are_accepted(self, worker: WorkerProcess) -> None:
        identity = worker.submit(completion(worker, PROMPTS[0], max_tokens=20_000))
        worker.cancel(identity)
        worker.cancel(identity)
        worker.cancel("unknown")
        (finished,) = worker.finish(identity, seconds=5)
        assert isinstance(finished, Finished) and finished.reason == "cancelled"

    def test_a_cancel_does_not_change_other_answers(self, worker: WorkerProcess) -> None:
        alone = worker.submit(completion(worker, PROMPTS[3], max_tokens=30))
        worker.finish(alone)
        long = [worker.submit(completion(worker, prompt, max_tokens=20_000)) for prompt in PROMPTS[:3]]
        beside = worker.submit(completion(worker, PROMPTS[3], max_tokens=30))
        for identity in long:
            worker.read(lambda identity=identity: len(worker.deltas(identity)) > 2)
            worker.cancel(identity)
        worker.finish(beside, *long)
        assert worker.tokens(beside) == worker.tokens(alone)


class TestBadInput:
    def test_a_prompt_beyond_the_context_is_refused(self, worker: WorkerProcess) -> None:
        error = failure(worker, completion(worker, "word " * 40_000)).error
        assert error.code == "context_length_exceeded" and "32768" in error.message

    def test_a_huge_prompt_is_refused_before_it_is_fully_tokenised(self, worker: WorkerProcess) -> None:
        error = failure(worker, completion(worker, "hello " * 4_000_000)).error
        assert error.code == "context_length_exceeded" and "> 32768 maximum" in error.message
        assert "counted in part" in error.message

    def test_an_empty_prompt_is_refused(self, worker: WorkerProcess) -> None:
        assert failure(worker, completion(worker, "")).error.param == "prompt"

    def test_unknown_token_ids_are_refused(self, worker: WorkerProcess) -> None:
        request = completion(worker, "x")
        strange = type(request)(id=request.id, model="test", prompt=Tokens(ids=(5, 99_999)))
        assert "99999" in failure(worker, strange).error.message

    def test_a_bias_for_an_unknown_token_is_refused(self, worker: WorkerProcess) -> None:
        request = completion(worker, "x", sampling=sampled(logit_bias={4_000_000: 1.0}))
        assert failure(worker, request).error.param == "logit_bias"

    def test_a_deadline_ends_a_request(self, worker: WorkerProcess) -> None:
        error = failure(worker, completion(worker, PROMPTS[0], max_tokens=30_000, deadline=0.3)).error
        assert error.code == "deadline_exceeded"


def test_hello_has_versions_and_backend(worker: WorkerProcess) -> None:
    hello = worker.first(Hello)
    assert hello.pid == worker.process.pid and "mlx-lm" in hello.versions
    assert hello.backend.startswith(("cpu", "metal", "cuda"))
    assert not [message for message in worker.messages if isinstance(message, Log) and message.level == "error"]


def test_a_chat_is_rendered_by_the_models_template(worker: WorkerProcess) -> None:
    (finished,) = worker.finish(worker.submit(chat(worker, "hello")))
    assert isinstance(finished, Finished) and finished.usage.prompt_tokens > 5

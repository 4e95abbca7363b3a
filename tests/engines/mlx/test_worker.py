"""A real worker process with real architectures: answers, cancels, faults, the end."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lmx_daemon.contract.events import Counted, Failed, Finished, Started
from lmx_daemon.contract.requests import Count, Text, Tokens
from lmx_daemon.contract.worker.messages import Hello, Leave, Loaded, LoadFailed, LoadProgress, Log
from tests.engines.mlx.worker_process import WorkerProcess, chat, completion, sampled
from tests.models import ARCHITECTURES, build_model

PROMPTS = [
    "The quick brown fox jumps over the lazy dog. A model reads tokens",
    "Once upon a time",
    "0123456789 0123456789 0123456789 0123456789 and then some more words to make this one the longest of them",
    "a worker holds the model, a daemon holds the workers",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


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


class TestLoading:
    def test_code_in_the_repository_is_refused(self, folder: Path) -> None:
        path = build_model("llama", folder / "coded")
        (path / "modeling.py").write_text("print('gotcha')")
        assert load_error(path).code == "untrusted_model"

    def test_a_config_that_names_code_is_refused(self, folder: Path) -> None:
        path = build_model("llama", folder / "mapped", auto_map={"AutoModel": "x.Y"})
        assert load_error(path).code == "untrusted_model"

    def test_truncated_weights_fail_the_load(self, folder: Path) -> None:
        path = build_model("llama", folder / "cut")
        weights = path / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1000])
        error = load_error(path)
        assert error.code == "model_load_failed" and "model.safetensors" in error.message

    def test_an_unknown_architecture_is_named(self, folder: Path) -> None:
        path = build_model("llama", folder / "unknown")
        config = (path / "config.json").read_text()
        (path / "config.json").write_text(config.replace('"llama"', '"martian"'))
        assert "martian" in load_error(path).message

    def test_a_config_that_divides_by_zero_fails_the_load(self, folder: Path) -> None:
        path = build_model("llama", folder / "headless")
        config = json.loads((path / "config.json").read_text()) | {"num_attention_heads": 0, "head_dim": None}
        (path / "config.json").write_text(json.dumps(config))
        error = load_error(path)
        assert error.code == "model_load_failed"
        assert "config.json: num_attention_heads must be a number above 0, not 0" in error.message

    def test_a_model_that_cannot_run_fails_the_load(self, folder: Path) -> None:
        path = build_model("llama", folder / "unscaled")
        config = json.loads((path / "config.json").read_text()) | {"num_key_value_heads": 2, "rope_theta": "warm"}
        (path / "config.json").write_text(json.dumps(config))
        with WorkerProcess() as worker:
            failed = worker.load(path)
            assert isinstance(failed, LoadFailed) and failed.error.code == "model_load_failed"
            assert 'config.json: rope_theta must be a number, not "warm"' in failed.error.message
            stages = [message.stage for message in worker.messages if isinstance(message, LoadProgress)]
            assert stages[-1] == "warming up"
            (refused,) = worker.finish(worker.submit(chat(worker, "hello")))
            assert isinstance(refused, Failed) and "no model is loaded" in refused.error.message

    def test_an_absurd_context_length_is_ignored(self, folder: Path) -> None:
        path = build_model("llama", folder / "endless", max_position_embeddings=10**20)
        with WorkerProcess() as worker:
            loaded = worker.load(path)
            assert isinstance(loaded, Loaded) and loaded.capabilities.context_length == 32768

    def test_a_worker_can_load_after_a_failed_load(self, folder: Path, llama: Path) -> None:
        with WorkerProcess() as worker:
            assert isinstance(worker.load(folder / "nowhere"), LoadFailed)
            worker.messages.clear()
            assert isinstance(worker.load(llama), Loaded)

    def test_a_slow_warm_up_reports_progress(self, llama: Path) -> None:
        """The probe and the batch's warm-up of five steps or more report progress."""
        with WorkerProcess() as worker:
            assert isinstance(worker.load(llama), Loaded)
            stages = [message.stage for message in worker.messages if isinstance(message, LoadProgress)]
            assert stages.count("warming up") >= 15

    def test_bfloat16_is_cast_on_a_cpu_with_a_note(self, folder: Path) -> None:
        import mlx.core as mx

        path = build_model("llama", folder / "bfloat")
        weights = mx.load(str(path / "model.safetensors"))
        assert isinstance(weights, dict)
        halved = {name: value.astype(mx.bfloat16) for name, value in weights.items()}
        mx.save_safetensors(str(path / "model.safetensors"), halved, {"format": "mlx"})
        with WorkerProcess() as worker:
            loaded = worker.load(path)
            assert loaded.dtype == "float32" and "bfloat16" in loaded.note


def load_error(path: Path) -> Any:
    with WorkerProcess() as worker:
        failed = worker.load(path)
        assert isinstance(failed, LoadFailed)
        return failed.error


class TestLeaving:
    def test_leave_ends_the_process(self, llama: Path) -> None:
        with WorkerProcess() as worker:
            worker.load(llama)
            worker.send(Leave())
            assert worker.process.wait(5) == 0

    def test_sigterm_ends_the_process(self, llama: Path) -> None:
        with WorkerProcess() as worker:
            worker.load(llama)
            worker.process.send_signal(signal.SIGTERM)
            assert worker.process.wait(5) == 0

    def test_the_process_ends_within_a_second_of_its_socket(self, llama: Path) -> None:
        with WorkerProcess() as worker:
            worker.load(llama)
            worker.submit(completion(worker, PROMPTS[0], max_tokens=20_000))
            worker.connection.close()
            begun = time.monotonic()
            assert worker.process.wait(5) == 0
            assert time.monotonic() - begun < 1.0

    def test_sigint_is_ignored(self, worker: WorkerProcess) -> None:
        worker.process.send_signal(signal.SIGINT)
        worker.finish(worker.submit(completion(worker, PROMPTS[1])))


def test_importing_the_engine_keeps_the_limit_of_open_files() -> None:
    code = (
        "import resource; limits = (1000, 3000); resource.setrlimit(resource.RLIMIT_NOFILE, limits);"
        "from lmx_daemon.engines.mlx.engine import import_mlx; import_mlx();"
        "assert resource.getrlimit(resource.RLIMIT_NOFILE) == limits"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_missing_mlx_is_reported_with_its_repair(tmp_path: Path) -> None:
    (tmp_path / "mlx").mkdir()
    (tmp_path / "mlx" / "__init__.py").write_text("raise ImportError('libmlx.so: cannot open shared object file')")
    with WorkerProcess({"PYTHONPATH": str(tmp_path)}) as worker:
        failed = worker.first(LoadFailed)
        assert failed.error.code == "engine_missing" and "install" in failed.error.hint
        assert worker.process.wait(5) == 3


def test_hello_has_versions_and_backend(worker: WorkerProcess) -> None:
    hello = worker.first(Hello)
    assert hello.pid == worker.process.pid and "mlx-lm" in hello.versions
    assert hello.backend.startswith(("cpu", "metal", "cuda"))
    assert not [message for message in worker.messages if isinstance(message, Log) and message.level == "error"]


def test_a_chat_is_rendered_by_the_models_template(worker: WorkerProcess) -> None:
    (finished,) = worker.finish(worker.submit(chat(worker, "hello")))
    assert isinstance(finished, Finished) and finished.usage.prompt_tokens > 5


def test_a_template_in_a_separate_file_is_found(folder: Path) -> None:
    path = build_model("llama", folder / "apart", ends=False)
    settings = json.loads((path / "tokenizer_config.json").read_text())
    (path / "chat_template.json").write_text(json.dumps({"chat_template": settings.pop("chat_template")}))
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    with WorkerProcess() as running:
        loaded = running.load(path)
        assert isinstance(loaded, Loaded) and loaded.capabilities.chat
        (finished,) = running.finish(running.submit(chat(running, "hello", max_tokens=2)))
        assert isinstance(finished, Finished)

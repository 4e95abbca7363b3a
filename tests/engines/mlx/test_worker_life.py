"""A real worker process: loads, failed loads, its start and its end."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lmx_daemon.contract.generation.events import Failed, Finished
from lmx_daemon.contract.worker.messages import Leave, Loaded, LoadFailed, LoadProgress
from tests.engines.mlx.worker_process import WorkerProcess, chat, completion
from tests.models import build_model


@pytest.fixture(scope="module")
def llama(folder: Path) -> Path:
    return build_model("llama", folder / "llama", ends=False)


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
            worker.submit(completion(worker, "a long answer", max_tokens=20_000))
            worker.connection.close()
            begun = time.monotonic()
            assert worker.process.wait(5) == 0
            assert time.monotonic() - begun < 1.0

    def test_sigint_is_ignored(self, llama: Path) -> None:
        with WorkerProcess() as worker:
            worker.load(llama)
            worker.process.send_signal(signal.SIGINT)
            worker.finish(worker.submit(completion(worker, "an answer")))


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

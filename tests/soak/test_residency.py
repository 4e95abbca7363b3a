"""Residency with real workers: files that make a worker grow, many long prompts, and disconnected clients."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.end_to_end.running import Daemon, wait_until
from tests.models import build_model

pytestmark = pytest.mark.slow
LEFT_OVER = '[[[[[[[[[[[[[[[[[[[["x"]]]]]]]]]]]]]]]]]]]]'
WIDE: dict[str, Any] = {
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 64,
}


@pytest.fixture
def start_daemon(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Yield a function that starts a daemon with the models below `tmp_path`."""
    started: list[Daemon] = []

    def start(**engine: Any) -> Daemon:
        settings = "".join(f"{name} = {value}\n" for name, value in engine.items())
        config = f'[engine]\nwarm_spare = false\n{settings}\n[library]\nfolders = ["{tmp_path}"]\n'
        daemon = Daemon(config=config)
        started.append(daemon)
        return daemon.start()

    yield start
    for daemon in started:
        daemon.stop()


def load(daemon: Daemon, name: str) -> Any:
    return daemon.admin("POST", "/admin/models/load", {"model": f"local/{name}"})


def ask(daemon: Daemon, name: str, prompt: Any = "hello", seconds: float = 120) -> int:
    body = {"model": f"local/{name}", "prompt": prompt, "max_tokens": 8}
    return httpx2.post(f"{daemon.address}/v1/completions", json=body, timeout=seconds).status_code


def nested(folder: Path) -> None:
    file = folder / "tokenizer.json"
    file.write_text(file.read_text().rstrip()[:-1] + f', "x": [{",".join([LEFT_OVER] * 1_500_000)}]}}')


def many_layers(folder: Path) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"num_hidden_layers": 1_000_000}))


@pytest.mark.parametrize("spoil", [nested, many_layers])
def test_a_model_whose_files_take_gigabytes_is_refused_or_ended(
    start_daemon: Callable[..., Daemon], tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    build_model("llama", tmp_path / "good", ends=False)
    spoil(build_model("llama", tmp_path / "bomb", ends=False))
    daemon = start_daemon()
    load(daemon, "good")
    done = threading.Event()
    held: list[int] = []

    def watch() -> None:
        while not done.wait(0.3):
            held.extend(i.get("held", 0) for i in daemon.admin("GET", "/admin/instances"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    answer = load(daemon, "bomb")
    done.set()
    watcher.join()
    assert "error" in answer.get("instance", {}) or "code" in answer, answer
    assert max(held, default=0) < 4 * 10**9
    assert ask(daemon, "good") == 200 and daemon.get("/health")[0] == 200


def test_valid_model_under_load_is_not_ended(start_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    build_model("llama", tmp_path / "m", ends=False, **WIDE)
    daemon = start_daemon()
    load(daemon, "m")
    prompts: list[list[int]] = [[3 + (seed * 31 + at) % 450 for at in range(40)] for seed in range(24)]
    prompts += [[3 + (seed * 7 + at) % 450 for at in range(700)] for seed in range(3)]
    answers: list[int] = []
    threads = [threading.Thread(target=lambda p=p: answers.append(ask(daemon, "m", p, 500))) for p in prompts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * len(prompts)
    assert daemon.admin("GET", "/admin/status").get("incidents", []) == []


def test_clients_that_disconnect_while_waiting_for_memory_evict_nothing(
    start_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    for name in "ab":
        build_model("llama", tmp_path / name, ends=False, **WIDE)
    daemon = start_daemon(memory='"600 MB"')
    load(daemon, "a")
    workers = daemon.worker_pids()
    body = {"model": "local/a", "prompt": "x", "max_tokens": 30_000, "stream": True}
    with httpx2.stream("POST", f"{daemon.address}/v1/completions", json=body, timeout=60) as busy:
        lines = busy.iter_lines()
        next(lines)
        for seconds in [0.02] * 20 + [0.5] * 4:
            with pytest.raises(httpx2.TimeoutException):
                ask(daemon, "b", seconds=seconds)
        wait_until(lambda: instances(daemon) == ["local/a"], 10, "the loads are withdrawn")
    wait_until(lambda: not daemon.admin("GET", "/admin/requests"), 10, "no request is left that could load a model")
    assert daemon.worker_pids() == workers and ready(daemon) == ["local/a"]
    assert ask(daemon, "b") == 200 and ask(daemon, "a") == 200


def instances(daemon: Daemon) -> list[str]:
    return [instance["model"] for instance in daemon.admin("GET", "/admin/instances")]


def ready(daemon: Daemon) -> list[str]:
    return [i["model"] for i in daemon.admin("GET", "/admin/instances") if i["state"] == "ready"]

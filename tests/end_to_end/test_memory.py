"""Several models within one memory limit: loads, evictions, waiting loads and refusals, with real workers."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx2
import pytest

from lmx_daemon.contract.models import Model
from lmx_daemon.contract.worker.cache_shape import CacheShape
from lmx_daemon.memory.need import Measured
from lmx_daemon.residency.measured import Measurements
from tests.end_to_end.running import Daemon, alive, wait_for_inspection, wait_until
from tests.models import build_model

SHAPE: dict[str, Any] = {
    "hidden_size": 256,
    "intermediate_size": 8192,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "head_dim": 64,
}
PER_TOKEN = 2 * 2 * 16 * 64 * 4
ONE_FITS, TWO_FIT = "850 MB", "1450 MB"
"""Memory limits. One of the models here needs about 760 MB as estimated and 550 MB as measured."""
COMMIT = "0" * 40


@pytest.fixture(scope="module")
def three_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache with three models of 50 MB: tests/a, tests/b, tests/c."""
    root = tmp_path_factory.mktemp("three_models")
    first = build_model("llama", root / "model", ends=False, **SHAPE)
    for name in "abc":
        repository = root / f"models--tests--{name}"
        snapshot = repository / "snapshots" / COMMIT
        snapshot.mkdir(parents=True)
        for file in first.iterdir():
            os.link(file, snapshot / file.name)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(COMMIT)
    return root


@pytest.fixture
def start_daemon(three_models: Path) -> Iterator[Callable[..., Daemon]]:
    """Yield a function that starts a daemon with the given memory limit."""
    started: list[Daemon] = []

    def start(memory: str = TWO_FIT, *arguments: str, **engine: Any) -> Daemon:
        settings = "".join(f"{name} = {value}\n" for name, value in engine.items())
        config = f'[engine]\nwarm_spare = false\nmemory = "{memory}"\n{settings}'
        daemon = Daemon(environment={"HF_HUB_CACHE": str(three_models)}, config=config, arguments=list(arguments))
        started.append(daemon)
        return daemon.start()

    yield start
    for daemon in started:
        daemon.stop()


def load(daemon: Daemon, name: str, **fields: Any) -> Any:
    return daemon.admin("POST", "/admin/models/load", {"model": f"tests/{name}"} | fields)


def loaded(daemon: Daemon) -> list[str]:
    return sorted(i["model"][-1] for i in daemon.admin("GET", "/admin/instances") if i["state"] == "ready")


def incidents(daemon: Daemon) -> list[tuple[str, str]]:
    status = daemon.admin("GET", "/admin/status")
    return [(found["kind"], found["model"][-1]) for found in status.get("incidents", [])]


def ask(daemon: Daemon, name: str, **fields: Any) -> httpx2.Response:
    body = {"model": f"tests/{name}", "prompt": "hello", "max_tokens": 2} | fields
    return httpx2.post(f"{daemon.address}/v1/completions", json=body, timeout=60)


class Stream:
    """Streamed request that keeps its model busy until it is closed."""

    def __init__(self, daemon: Daemon, name: str) -> None:
        self._closing = threading.Event()
        self._running = threading.Event()
        self._thread = threading.Thread(target=self._read, args=(daemon, name), daemon=True)
        self._thread.start()
        assert self._running.wait(60)

    def _read(self, daemon: Daemon, name: str) -> None:
        body = {"model": f"tests/{name}", "prompt": "x", "max_tokens": 20_000, "stream": True}
        with httpx2.stream("POST", f"{daemon.address}/v1/completions", json=body, timeout=60) as answer:
            for line in answer.iter_lines():
                if line:
                    self._running.set()
                if self._closing.is_set():
                    return

    def close(self) -> None:
        self._closing.set()
        self._thread.join(10)


def test_least_recently_used_model_is_evicted_and_measurements_are_kept(start_daemon: Callable[..., Daemon]) -> None:
    daemon = start_daemon()
    assert load(daemon, "a")["instance"]["plan"]["weights"]["basis"] == "measured"
    load(daemon, "b")
    (old,) = [i["pid"] for i in daemon.admin("GET", "/admin/instances") if i["model"] == "tests/a"]
    assert ask(daemon, "a").status_code == 200  # so b is the least recently used
    assert ask(daemon, "c").status_code == 200
    assert loaded(daemon) == ["a", "c"] and alive(old)
    assert incidents(daemon) == [("evicted", "b")]
    assert (daemon.home / "measured.json").stat().st_size > 100
    plan = daemon.admin("POST", "/admin/models/plan", {"model": "tests/b"})
    assert plan["outcome"] == "evicts" and plan["plan"]["cache"]["basis"] == "measured"
    memory = daemon.admin("GET", "/admin/memory")
    assert memory["claimed"] <= memory["cap"] == 1_450_000_000


def test_pinned_models_are_kept_and_a_refusal_names_sizes_and_remedies(start_daemon: Callable[..., Daemon]) -> None:
    daemon = start_daemon(TWO_FIT, "--model", "tests/a")
    wait_until(lambda: loaded(daemon) == ["a"], 30, "the preload")
    load(daemon, "b", pin=True)
    assert daemon.lmx("load", "--plan", "tests/c").returncode == 1
    refused = daemon.lmx("load", "tests/c")
    assert refused.returncode == 1
    assert "does not fit into memory: it needs " in refused.stderr and "of 1.4 GB are free" in refused.stderr
    for part in ("weights 59.2 MB (exact)", "cache of 4096 tokens 67.1 MB (computed)", "scratch", "(estimated)"):
        assert part in refused.stderr
    assert "hint: " in refused.stderr and "is pinned and holds" in refused.stderr
    assert "\n  " not in refused.stderr and "Traceback" not in refused.stderr
    assert loaded(daemon) == ["a", "b"]
    answer = ask(daemon, "c")
    assert answer.status_code == 507 and answer.json()["error"]["code"] == "out_of_memory"
    load(daemon, "b", pin=False)
    load(daemon, "c")
    assert loaded(daemon) == ["a", "c"]


def test_context_that_does_not_fit_is_refused_and_the_hint_names_one_that_fits(
    start_daemon: Callable[..., Daemon],
) -> None:
    daemon = start_daemon(ONE_FITS)
    refused = daemon.lmx("load", "tests/a", "--context", "32768")
    hint = next(line for line in refused.stderr.splitlines() if line.startswith("hint: "))
    assert refused.returncode == 1 and "--context " in hint
    arguments = hint.partition("lmx load ")[2].partition(";")[0].split()
    plan = daemon.admin("POST", "/admin/models/plan", {"model": "tests/a", "context_length": 32768})
    assert plan["alternatives"][0]["context"] == int(arguments[arguments.index("--context") + 1])
    done = daemon.lmx("load", *arguments)
    assert done.returncode == 0, done.stderr
    assert "planned" in done.stderr and daemon.lmx("ps").stdout.count("tests/a:") == 1


def test_load_waits_for_a_busy_model_and_other_requests_do_not_wait(start_daemon: Callable[..., Daemon]) -> None:
    daemon = start_daemon()
    load(daemon, "a")
    load(daemon, "b")
    streams = [Stream(daemon, "a"), Stream(daemon, "b")]
    answers: list[httpx2.Response] = []
    waiting = threading.Thread(target=lambda: answers.append(ask(daemon, "c")))
    waiting.start()

    def stage() -> str:
        found = [i for i in daemon.admin("GET", "/admin/instances") if i["model"] == "tests/c"]
        return str(found[0].get("stage", "")) if found else ""

    wait_until(lambda: stage().startswith("waiting for memory"), 30, "c waits for memory")
    assert ask(daemon, "a").status_code == 200 and not answers  # a loaded model answers meanwhile
    streams[1].close()
    waiting.join(60)
    assert answers[0].status_code == 200
    streams[0].close()
    assert loaded(daemon) == ["a", "c"] and incidents(daemon) == [("evicted", "b")]


def test_no_model_is_evicted_for_a_disconnected_client(start_daemon: Callable[..., Daemon]) -> None:
    daemon = start_daemon(ONE_FITS)
    load(daemon, "a")
    stream = Stream(daemon, "a")
    with pytest.raises(httpx2.ReadTimeout):
        body = {"model": "tests/b", "prompt": "hello", "max_tokens": 2}
        httpx2.post(f"{daemon.address}/v1/completions", json=body, timeout=1.5)
    stream.close()
    log = daemon.home / "logs" / "daemon.log"
    wait_until(lambda: "the load was withdrawn" in log.read_text(), 30, "the load is withdrawn")
    wait_until(lambda: not daemon.admin("GET", "/admin/requests"), 30, "no request is left")
    assert loaded(daemon) == ["a"] and incidents(daemon) == []


def test_refused_prompts_and_models_do_not_affect_a_stream(
    start_daemon: Callable[..., Daemon],
) -> None:
    daemon = start_daemon(ONE_FITS, memory_wait_seconds=0.5)
    load(daemon, "a")
    (instance,) = daemon.admin("GET", "/admin/instances")
    room = instance["cache_limit"] // PER_TOKEN
    assert 4096 <= room < 31_000
    stream = Stream(daemon, "a")
    begun = time.monotonic()
    refused = ask(daemon, "a", prompt=[5] * (room + 1000))
    assert refused.status_code == 400 and time.monotonic() - begun < 10
    error = refused.json()["error"]
    assert error["code"] == "context_length_exceeded" and f": {room + 1000} tokens > " in error["message"]
    assert "there is memory for" in error["message"] and "lmx unload" in error["hint"]
    late = ask(daemon, "b")  # after memory_wait_seconds
    assert late.status_code == 429 and int(late.headers["retry-after"]) >= 1
    assert "tests/a did not release within" in late.json()["error"]["message"]
    (row,) = daemon.admin("GET", "/admin/requests")
    assert row["state"] == "decode" and loaded(daemon) == ["a"]
    stream.close()


def test_load_that_exceeds_its_plan_is_undone(start_daemon: Callable[..., Daemon], three_models: Path) -> None:
    home = Daemon().home
    model = Model(id="tests/a", path="", source="hub", revision=COMMIT)
    false = Measured(weights=1, process=1, cache=CacheShape())
    measurements = Measurements(home / "measured.json")
    measurements.note(model, "cpu", {"mlx-lm": version("mlx-lm")}, false)
    measurements.write(measurements.encoded())
    daemon = Daemon(
        environment={"HF_HUB_CACHE": str(three_models)}, home=home, config='[engine]\nmemory = "950 MB"\n'
    ).start()
    try:
        load(daemon, "b")
        refused = load(daemon, "a")["instance"]["error"]
        assert refused["code"] == "out_of_memory" and "exceeds the memory by" in refused["message"]
        wait_until(lambda: loaded(daemon) == ["b"], 10, "the loaded model is kept")
        assert incidents(daemon)[0] == ("undone", "a")
        assert load(daemon, "a")["instance"]["state"] == "ready"  # its plan is measured now
        assert loaded(daemon) == ["a"]
    finally:
        daemon.stop()


def test_models_evicted_for_a_failed_load_are_restored(start_daemon: Callable[..., Daemon], three_models: Path) -> None:
    broken = three_models / "models--tests--broken" / "snapshots" / COMMIT
    broken.mkdir(parents=True, exist_ok=True)
    source = three_models / "models--tests--a" / "snapshots" / COMMIT
    for file in source.iterdir():
        if not (broken / file.name).exists():
            os.link(file, broken / file.name)
    (broken / "tokenizer.json").unlink()
    (broken / "tokenizer.json").write_text("{}")
    daemon = start_daemon(ONE_FITS)
    load(daemon, "a")
    failed = load(daemon, "broken")
    assert failed["instance"]["state"] == "failed"
    wait_until(lambda: loaded(daemon) == ["a"], 30, "the evicted model is restored")
    assert ("restored", "a") in incidents(daemon)


def test_keep_alive_and_slots(start_daemon: Callable[..., Daemon]) -> None:
    daemon = start_daemon()
    assert ask(daemon, "a", keep_alive="0.5s").status_code == 200
    wait_until(lambda: loaded(daemon) == [], 10, "a is unloaded")
    assert incidents(daemon) == [("expired", "a")]
    load(daemon, "b")
    assert ask(daemon, "b", keep_alive=0).status_code == 200
    wait_for_inspection(daemon)
    assert loaded(daemon) == ["b"]  # a model that was loaded by command is kept
    again = load(daemon, "b", slots=3)
    assert again["code"] == "conflict" and "lmx unload" in again["hint"]
    plan = load(daemon, "a", slots=2, context_length=2048)["instance"]["plan"]
    assert (plan["slots"], plan["cache"]["bytes"]) == (2, 2 * 2048 * PER_TOKEN)

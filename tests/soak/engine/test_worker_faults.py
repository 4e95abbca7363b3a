"""Attacks on a worker by one client: the client's request fails, and other requests are not affected."""

import itertools
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from lmx_daemon.contract.generation.events import Counted
from lmx_daemon.contract.generation.requests import Count, Text
from lmx_daemon.contract.worker.messages import Heartbeat, Loaded
from tests.end_to_end.running import Daemon, wait_until
from tests.engines.mlx.worker_process import WorkerProcess
from tests.models import COMMIT, build_cached_model, build_model
from tests.scripted import Script, build_scripted
from tests.soak.streams import Stream

pytestmark = pytest.mark.slow
QWEN = "|".join(
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
        r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"\s*[\r\n]+|\s+(?!\S)|\s+",
    )
)
"""Pattern of the pre-tokenizer of Qwen 2 and 3."""
HUNGRY = r"(x+x+)+[^x\s]"
"""Pattern that takes 0.1 s for each 22 x, without progress meanwhile."""
SPACES, HUNGER, CALLER, CHAT = "tests/spaces", "tests/hunger", "tests/caller", "tests/chat"
CALL = '<tool_call>{"name": "f", "arguments": {"a": "\\ud83d"}}</tool_call>'
TEMPLATE = "{{ messages[0].content }}{# <tool_call> tool_call.name #}"
REFUSES = "{% if messages[0].content == 'no' %}{{ raise_exception('x \\ud83d') }}{% endif %}{{ messages[0].content }}"
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]


def split_by(path: Path, pattern: str, runs: int = 0) -> None:
    """Make the tokenizer in `path` split by `pattern`, and add `runs` tokens of 2, 4, 8 ... spaces."""
    from tokenizers import Regex, Tokenizer, pre_tokenizers

    file = path / "tokenizer.json"
    content = json.loads(file.read_text())
    for power in range(runs):
        half = "\u0120" * 2**power
        content["model"]["vocab"].setdefault(half * 2, len(content["model"]["vocab"]))
        content["model"]["merges"].insert(power, [half, half])
    file.write_text(json.dumps(content))
    tokenizer = Tokenizer.from_file(str(file))
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    alphabet = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, alphabet])  # type: ignore[list-item]
    tokenizer.save(str(file))


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    root = tmp_path_factory.mktemp("attacked")
    split_by(build_cached_model("llama", root, SPACES, ends=False, max_position_embeddings=262_144), QWEN, runs=7)
    split_by(build_cached_model("llama", root, HUNGER, ends=False), HUNGRY)
    caller = root / f"models--{CALLER.replace('/', '--')}"
    scripts = {"": Script("la la ", ends=False), "call": CALL}
    build_scripted(caller / "snapshots" / COMMIT, scripts, special=["<tool_call>", "</tool_call>"], template=TEMPLATE)
    (caller / "refs").mkdir()
    (caller / "refs" / "main").write_text(COMMIT)
    chat = build_cached_model("llama", root, CHAT, ends=False)
    settings = json.loads((chat / "tokenizer_config.json").read_text())
    (chat / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": REFUSES}))
    config = "[engine]\nhang_seconds = 8.0\nmax_restarts = 3\n"
    daemon = Daemon(config=config, environment={"HF_HUB_CACHE": str(root)}).start()
    yield daemon
    assert daemon.stop() == 0


def post(daemon: Daemon, route: str, **body: Any) -> httpx2.Response:
    return httpx2.post(f"{daemon.address}/v1/{route}", json=body, timeout=120)


def ask(daemon: Daemon, model: str, text: str = "hello", **fields: Any) -> httpx2.Response:
    messages = [{"role": "user", "content": text}]
    return post(daemon, "chat/completions", model=model, messages=messages, **{"max_tokens": 4} | fields)


def worker_of(daemon: Daemon, model: str) -> int:
    (instance,) = [found for found in daemon.admin("GET", "/admin/instances") if found["model"] == model]
    return int(instance["pid"])


def unload(daemon: Daemon, model: str) -> None:
    daemon.admin("POST", "/admin/models/unload", {"id": model, "force": True})


def test_millions_of_spaces_fail_their_request_only(attacked: Daemon) -> None:
    """Send 10.5 million spaces, with which Qwen's pattern panics."""
    assert ask(attacked, SPACES).status_code == 200
    worker = worker_of(attacked, SPACES)
    stream = Stream(attacked, SPACES)
    wait_until(lambda: stream.running, 30, "a stream runs")
    for _ in range(4):
        answer = post(attacked, "completions", model=SPACES, prompt=" " * 10_500_000, max_tokens=4)
        assert answer.status_code == 400 and "PanicException" in answer.text, answer.text[:500]
    assert ask(attacked, SPACES).status_code == 200
    assert worker_of(attacked, SPACES) == worker and stream.outcome == "running"
    unload(attacked, SPACES)


def test_half_characters_in_tool_calls_do_not_end_other_streams(attacked: Daemon) -> None:
    assert ask(attacked, CALLER).status_code == 200
    worker = worker_of(attacked, CALLER)
    streams = [Stream(attacked, CALLER) for _ in range(5)]
    wait_until(lambda: all(stream.running for stream in streams), 30, "five streams run")
    for _ in range(4):
        answer = ask(attacked, CALLER, "call", tools=TOOLS, max_tokens=100)
        assert answer.status_code == 200, answer.text
        (call,) = answer.json()["choices"][0]["message"]["tool_calls"]
        assert json.loads(call["function"]["arguments"]) == {"a": "\N{REPLACEMENT CHARACTER}"}
        assert ask(attacked, CALLER, "call", tools=TOOLS, max_tokens=100, stream=True).status_code == 200
    assert worker_of(attacked, CALLER) == worker and {stream.outcome for stream in streams} == {"running"}
    unload(attacked, CALLER)


def test_template_error_with_half_a_character_fails_its_request_only(attacked: Daemon) -> None:
    for _ in range(4):
        assert ask(attacked, CHAT, "no").status_code == 400
        assert ask(attacked, CHAT).status_code == 200


def test_requests_of_a_stopped_template_child_end_at_the_template_limit(attacked: Daemon) -> None:
    """Send a prompt of half a megabyte, which does not fit into the child's pipe of 64 kB."""
    assert ask(attacked, CHAT).status_code == 200
    worker = worker_of(attacked, CHAT)
    (child,) = psutil.Process(worker).children()
    child.send_signal(signal.SIGSTOP)
    with ThreadPoolExecutor() as threads:
        long = threads.submit(ask, attacked, CHAT, "no" * 250_000)
        time.sleep(0.3)
        other = threads.submit(ask, attacked, CHAT)
        assert long.result().status_code == 400 and "chat template took more than" in long.result().text
        assert other.result().status_code == 200
    assert worker_of(attacked, CHAT) == worker


def test_killed_template_children_fail_no_request(attacked: Daemon) -> None:
    assert ask(attacked, CHAT).status_code == 200
    worker, done = psutil.Process(worker_of(attacked, CHAT)), threading.Event()

    def kill() -> None:
        """Kill old children. A new child is kept, since the second attempt needs it."""
        while not done.wait(0.1):
            for child in worker.children():
                if time.time() - child.create_time() > 2.0:
                    os.kill(child.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with ThreadPoolExecutor(4) as threads:
        codes = [answer.status_code for answer in threads.map(lambda _: ask(attacked, CHAT), range(200))]
    done.set()
    killer.join()
    assert codes == [200] * 200 and worker.is_running()


def test_a_prompt_whose_preparation_makes_no_progress_ends_its_worker_and_a_deadline_ends_others(
    attacked: Daemon,
) -> None:
    assert ask(attacked, HUNGER).status_code == 200
    worker = worker_of(attacked, HUNGER)
    with ThreadPoolExecutor() as threads:
        begun = time.monotonic()
        slow = threads.submit(post, attacked, "completions", model=HUNGER, prompt=("x" * 22 + " ") * 1000)
        time.sleep(0.5)
        overdue = post(attacked, "completions", model=HUNGER, prompt="hello", deadline=1.0)
        assert overdue.status_code == 504 and time.monotonic() - begun < 5, overdue.text
        ended = slow.result()
        assert ended.status_code == 500 and ended.json()["error"]["code"] == "worker_hung", ended.text
        assert time.monotonic() - begun < 20
    assert ask(attacked, HUNGER).status_code == 200 and worker_of(attacked, HUNGER) != worker


def test_long_tokenisation_reports_progress(tmp_path: Path) -> None:
    path = build_model("llama", tmp_path, ends=False, max_position_embeddings=262_144)
    split_by(path, QWEN, runs=7)
    with WorkerProcess() as worker:
        assert isinstance(worker.load(path), Loaded)
        worker.messages.clear()
        (event,) = worker.finish(worker.submit(Count(id="a", model="test", prompt=Text(text=" " * 4_000_000))))
        assert isinstance(event, Counted) and event.tokens < 262_144
        beats = [
            message.prepared for message in worker.messages if isinstance(message, Heartbeat) and message.preparing
        ]
    stretches = [len(list(same)) for _, same in itertools.groupby(beats)]
    assert len(beats) > 10, "too short to test anything"
    assert max(stretches) < 10, "no progress for 5 s"

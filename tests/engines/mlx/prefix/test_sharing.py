"""Prefix sharing in a real worker: turns, system prompts, concurrent requests, a restart."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lmx_daemon.contract.generation.events import Finished, Started
from lmx_daemon.contract.generation.requests import Chat, Generate, Message, TextPart
from lmx_daemon.contract.worker.messages import Leave, Loaded, Log, Memory
from lmx_daemon.engines.mlx.prefix.cache import PrefixCache
from lmx_daemon.engines.mlx.prefix.lookup import PrefixLookup, PrefixStart
from lmx_daemon.engines.mlx.prefix.sharing import FAILED, PrefixSharing, checkpoints_for
from tests.engines.mlx.prefix.test_cache import tiny_cache
from tests.engines.mlx.reference_answers import CAN_BE_TRIMMED
from tests.engines.mlx.worker_process import WorkerProcess, completion
from tests.models import ARCHITECTURES, build_model

SYSTEM = "A worker holds the model, a daemon holds the workers; this one has long instructions. " * 6
PLENTY = 1 << 30

Used = tuple[dict[str, Any], list[Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def model_of(architecture: str, folder: Path) -> Path:
    path = folder / architecture
    return path if path.exists() else build_model(architecture, path, ends=False)


@pytest.fixture(scope="module")
def llama(folder: Path) -> Iterator[WorkerProcess]:
    with WorkerProcess() as worker:
        assert isinstance(worker.load(model_of("llama", folder)), Loaded)
        yield worker


def ask(worker: WorkerProcess, *texts: str, namespace: str = "", **fields: Any) -> list[tuple[int, list[Any]]]:
    """Submit concurrent requests. Return the cached tokens and the answer with log-probabilities of each."""
    fields["top_logprobs"] = 0
    names = [worker.submit(completion(worker, text, cache_namespace=namespace, **fields)) for text in texts]
    ended = worker.finish(*names)
    assert all(isinstance(event, Finished) for event in ended), ended
    return [
        (event.usage.cached_tokens, worker.tokens(name) + logprobs(worker, name))
        for event, name in zip(ended, names, strict=True)
        if isinstance(event, Finished)
    ]


def logprobs(worker: WorkerProcess, name: str) -> list[Any]:
    return [pytest.approx(token.logprob, abs=1e-3) for delta in worker.deltas(name) for token in delta.logprobs]


def started(worker: WorkerProcess) -> Started:
    (event,) = [event for event in worker.events[f"r{worker._count}"] if isinstance(event, Started)]
    return event


QUICK = ("gemma3_text", "mamba")
EACH = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in ARCHITECTURES]


@pytest.mark.parametrize("architecture", EACH)
def test_answers_are_the_same_with_every_kind_of_reuse(architecture: str, folder: Path, tmp_path: Path) -> None:
    """Check turns, a common prefix, concurrent requests and a restart, on every kind of cache."""
    path = model_of(architecture, folder)
    disk = {"prefix_disk_path": str(tmp_path), "prefix_disk_bytes": PLENTY, "prefill_step": 128}
    turns = [SYSTEM + "the first question, 0123456789, 0123456789?"]
    turns.append(turns[0] + "the first answer, and a second question")
    others = [SYSTEM + f"{user} asks for something else, 0123456789, 0123456789" for user in ("another", "a third")]
    with WorkerProcess() as worker:
        assert isinstance(worker.load(path, **disk), Loaded)
        alone = {text: ask(worker, text, namespace=f"alone {text}")[0] for text in turns + others}
        assert all(cached == 0 for cached, _ in alone.values())
        for text, reused in zip(turns + others, (False, True, architecture in CAN_BE_TRIMMED, True), strict=True):
            (cached, answer), *_ = ask(worker, text)
            assert answer == alone[text][1], text
            assert (cached > 100) == reused, text
        together = ask(worker, *(SYSTEM + f" {n} asks this" for n in range(6)), namespace="together")
        assert sum(cached > 100 for cached, _ in together) >= 4
        for n, (_, answer) in enumerate(together):
            assert answer == ask(worker, SYSTEM + f" {n} asks this", namespace=f"{n} alone")[0][1]
        worker.send(Leave())
        worker.process.wait(5)
    with WorkerProcess() as worker:
        assert isinstance(worker.load(path, **disk), Loaded)
        for text in turns + others:
            (cached, answer), *_ = ask(worker, text)
            assert cached > 100 and answer == alone[text][1]


def test_the_second_conversation_reuses_the_system_prompt(folder: Path) -> None:
    """Check that the end of the system's text is a checkpoint if caches cannot be cut."""
    with WorkerProcess() as worker:
        assert isinstance(worker.load(model_of("mamba", folder)), Loaded)
        found = []
        for question in ("What is a token, and what is it good for? 0123456789", "Who are you? " * 8):
            turns = [("system", SYSTEM), ("user", question)]
            messages = tuple(Message(role=role, content=(TextPart(text=text),)) for role, text in turns)
            request = Generate(id=worker.name(), model="test", prompt=Chat(messages=messages), max_tokens=4)
            (event,) = worker.finish(worker.submit(request))
            assert isinstance(event, Finished)
            found.append(event.usage.cached_tokens)
        assert found[0] == 0 and found[1] > 100


class TestTrimmable:
    def test_the_prompt_of_a_cancelled_request_is_reused(self, llama: WorkerProcess) -> None:
        text = SYSTEM + "cancel this"
        name = llama.submit(completion(llama, text, max_tokens=500, cache_namespace="cancelled"))
        llama.read(lambda: len(llama.tokens(name)) > 2)
        llama.cancel(name)
        llama.finish(name)
        ((cached, _),) = ask(llama, text, namespace="cancelled")
        assert cached > 100

    def test_concurrent_requests_compute_the_system_prompt_once(self, llama: WorkerProcess) -> None:
        texts = [SYSTEM + f"question {n}, of another length{' ' * n}" for n in range(12)]
        found = ask(llama, *texts, namespace="agents")
        assert sorted(cached > 100 for cached, _ in found) == [False] + [True] * 11

    def test_choices_share_one_prefill(self, llama: WorkerProcess) -> None:
        ask(llama, SYSTEM, namespace="choices")
        ((cached, _),) = ask(llama, SYSTEM, namespace="choices", choices=3)
        prompt = started(llama).prompt_tokens
        assert cached == prompt - 1


class TestMissReport:
    def miss(self, worker: WorkerProcess, namespace: str, before: str, now: str) -> Started:
        ask(worker, before, namespace=namespace)
        ask(worker, now, namespace=namespace)
        return started(worker)

    def test_miss_report_names_a_changed_time(self, llama: WorkerProcess) -> None:
        found = self.miss(llama, "clock", "It is now 10:41:09. " + SYSTEM, "It is now 10:42:33. " + SYSTEM)
        assert "time" in found.miss and found.first_difference is not None and 0 < found.first_difference < 20

    def test_miss_report_names_a_changed_beginning(self, llama: WorkerProcess) -> None:
        found = self.miss(llama, "other", "You are kind. " + SYSTEM, "You are harsh. " + SYSTEM)
        assert "beginning" in found.miss and found.cached_tokens < 20

    def test_the_next_turn_is_not_a_miss(self, llama: WorkerProcess) -> None:
        assert self.miss(llama, "turn", SYSTEM, SYSTEM + SYSTEM).miss == ""

    def test_miss_report_names_an_eviction(self, folder: Path) -> None:
        with WorkerProcess() as worker:
            assert isinstance(worker.load(model_of("llama", folder), prefix_cache_bytes=200_000), Loaded)
            ask(worker, SYSTEM)
            ask(worker, "0123456789" + SYSTEM * 2)
            ask(worker, SYSTEM)
            assert started(worker).miss == "evicted"


@pytest.fixture
def used(folder: Path, tmp_path: Path) -> Used:
    """Answer SYSTEM in a worker that then exits. Return the load options of its disk tier, and the answer."""
    disk = {"prefix_disk_path": str(tmp_path), "prefix_disk_bytes": PLENTY}
    with WorkerProcess() as worker:
        assert isinstance(worker.load(model_of("llama", folder), **disk), Loaded)
        ((_, answer),) = ask(worker, SYSTEM)
        worker.send(Leave())
        worker.process.wait(5)
    return disk, answer


def test_a_damaged_block_is_reported_and_recomputed(used: Used, folder: Path, tmp_path: Path) -> None:
    disk, answer = used
    for file in tmp_path.glob("*/*.kv"):
        file.write_bytes(file.read_bytes()[:-1] + bytes([file.read_bytes()[-1] ^ 1]))
    with WorkerProcess() as worker:
        assert isinstance(worker.load(model_of("llama", folder), **disk), Loaded)
        assert ask(worker, SYSTEM) == [(0, answer)]
        assert "dropped" in worker.first(Log).message


def test_after_a_restart_recent_blocks_are_in_memory_before_the_first_request(
    used: Used, folder: Path, tmp_path: Path
) -> None:
    disk, answer = used
    with WorkerProcess() as worker:
        assert isinstance(worker.load(model_of("llama", folder), **disk), Loaded)
        worker.read(
            lambda: any(isinstance(message, Memory) and message.use.prefix_cache > 0 for message in worker.messages)
        )
        for file in tmp_path.glob("*/*.kv"):
            file.unlink()
        ((cached, again),) = ask(worker, SYSTEM)
        assert cached > 100 and again == answer


class TestDecisions:
    def test_checkpoints_exclude_the_tokens_that_open_the_answer(self) -> None:
        assert checkpoints_for(200, 0, (0, 0)) == (184,)
        assert checkpoints_for(200, 180, (190, 0)) == ()
        assert checkpoints_for(1000, 0, (500, 300)) == (300, 500, 984)
        assert checkpoints_for(1000, 500, (500, 300)) == (984,)
        assert checkpoints_for(10, 0, (0, 0)) == ()

    def test_a_request_waits_for_the_checkpoint_of_a_running_row(self) -> None:
        sharing, rows = PrefixSharing(PrefixCache(PLENTY)), Rows()
        leader = begun(sharing, 0, list(range(400)))
        follower = sharing.look_up("", [*range(300), 7, 7, 7])
        assert not sharing.may_start(follower, rows) and rows.asked == [(0, 300)]
        sharing.advance(0, 200, None)
        assert not sharing.may_start(follower, rows)
        sharing.advance(0, 300, tiny_cache(list(range(300))))
        assert sharing.may_start(follower, rows) and sharing.start(follower).cached == 300
        assert leader.cached == 0

    def test_error_during_a_store_clears_only_the_cache(self) -> None:
        sharing, tokens = PrefixSharing(PrefixCache(PLENTY)), list(range(400))
        sharing.store("", tokens, tiny_cache(tokens))
        (broken,) = tiny_cache([7, *tokens[1:]])
        broken.values = broken.values[:, :, :100]
        sharing.store("", [7, *tokens[1:]], [broken])
        assert sharing.size == 0
        sharing.store("", tokens, tiny_cache(tokens))
        assert sharing.start(sharing.look_up("", tokens)).cached == 399

    def test_an_internal_error_clears_the_cache_and_fails_no_request(self) -> None:
        warnings: list[str] = []
        sharing, tokens = PrefixSharing(PrefixCache(PLENTY), warn=warnings.append), list(range(400))
        sharing.store("", tokens, tiny_cache(tokens))
        del sharing.prefixes._order[next(iter(sharing.prefixes._order))]
        again = sharing.look_up("", tokens)
        assert sharing.may_start(again, Rows()) and sharing.start(again).cached == 0
        assert len(warnings) == 1 and FAILED in warnings[0] and sharing.size == 0
        sharing.store("", tokens, tiny_cache(tokens))
        assert sharing.start(sharing.look_up("", tokens)).cached == 399
        sharing.prefixes.size += 1
        sharing.resize(0)
        assert len(warnings) == 2 and sharing.size == 0

    def test_request_does_not_wait_for_a_short_prefix_or_another_namespace(self) -> None:
        sharing, rows = PrefixSharing(PrefixCache(PLENTY)), Rows()
        begun(sharing, 0, list(range(400)))
        assert sharing.may_start(sharing.look_up("", [*range(60), *[7] * 300]), rows)
        assert sharing.may_start(sharing.look_up("other", list(range(400))), rows)
        assert rows.asked == []

    def test_request_stops_waiting_when_the_running_row_ends(self) -> None:
        sharing, rows = PrefixSharing(PrefixCache(PLENTY)), Rows()
        begun(sharing, 0, list(range(400)))
        follower = sharing.look_up("", list(range(399)))
        assert not sharing.may_start(follower, rows)
        sharing.release(0)
        assert sharing.may_start(follower, rows)

    def test_prefix_is_copied_from_a_row_that_is_past_it(self) -> None:
        sharing, rows = PrefixSharing(PrefixCache(PLENTY)), Rows(held=320)
        sharing.prefixes.store("warm", list(range(10)), tiny_cache(list(range(10))))
        begun(sharing, 0, list(range(400)))
        sharing.advance(0, 320, None)
        follower = sharing.look_up("", [*range(300), 7, 7, 7])
        assert sharing.may_start(follower, rows) and sharing.start(follower).cached == 300


def begun(sharing: PrefixSharing, row: int, tokens: list[int]) -> PrefixStart:
    arrival: PrefixLookup = sharing.look_up("", tokens)
    found = sharing.start(arrival)
    sharing.register(row, arrival, found)
    return found


class Rows:
    """A batch that records its calls."""

    def __init__(self, held: int = 0) -> None:
        self.held = held
        self.asked: list[tuple[int, int]] = []

    def checkpoint(self, row: int, position: int) -> bool:
        self.asked.append((row, position))
        return position > self.held

    def extract(self, row: int) -> tuple[list[int], list[Any]] | None:
        return list(range(self.held)), tiny_cache(list(range(self.held)))

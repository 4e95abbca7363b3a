"""Reading ahead: recently used blocks are in memory before the first request, and no request waits for it."""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.models.cache import KVCache

from lmx_daemon.engines.mlx.prefix import block_files
from lmx_daemon.engines.mlx.prefix.block_files import BlockFile
from lmx_daemon.engines.mlx.prefix.block_keys import BLOCK
from lmx_daemon.engines.mlx.prefix.disk_index import recent
from tests.engines.mlx.prefix.disk_cache import PATIENCE, PLENTY, DiskCache, content, numbers, read_ahead
from tests.engines.mlx.reference_answers import PROMPT, answer, computed, expected, model_of, stored_tokens
from tests.models import ARCHITECTURES


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_blocks_read_ahead_are_found_in_memory(
    architecture: str, folder: Path, disk_cache: Callable[..., DiskCache]
) -> None:
    model = model_of(architecture, folder / architecture)
    first = disk_cache()
    first.store(PROMPT[:200], computed(model, PROMPT[:200]))
    second = disk_cache()
    read_ahead(second)
    assert second.restore(PROMPT) == 0
    hit = second.prefixes.find("", PROMPT)
    assert hit is not None and hit.length == 200
    assert answer(model, hit.cache, PROMPT[200:]) == expected(model, PROMPT)


def test_a_conversation_that_grew_is_read_ahead_completely(disk_cache: Callable[..., DiskCache]) -> None:
    first = disk_cache()
    tokens, cache = numbers(300)
    for length in (20, 40, 63, 70, 90, 128, 140, 170, 210):
        part = [KVCache.from_state((cache[0].keys[:, :, :length], cache[0].values[:, :, :length], length))]
        first.store(tokens[:length], part)
    first.close()
    tails = [path for path in first.files() if path.name.endswith("t.kv")]
    assert len(tails) > 4
    for path in tails:  # the shortest first, which the later ones cover
        age = int(path.stem.split("-")[3][:-1])
        os.utime(path, (time.time() - age, time.time() - age))
    second = disk_cache()
    read_ahead(second)
    assert content(second, tokens) == tokens[:210] and second.restore(tokens) == 0


def test_blocks_read_ahead_can_arrive_one_by_one(disk_cache: Callable[..., DiskCache]) -> None:
    first = disk_cache()
    tokens, cache = numbers(300)
    first.store(tokens, cache)
    second = disk_cache()
    second.disk.read_ahead(second.prefixes.root_key(""), PLENTY)
    assert second.woken.wait(PATIENCE)
    come, second.disk._read_ahead = second.disk._read_ahead, []
    for loaded in come:  # the engine may collect after each block
        second.disk._read_ahead = [loaded]
        second.disk.collect(second.prefixes)
    third = disk_cache()
    third.disk._read_ahead = come
    third.disk.collect(third.prefixes)
    for each in (second, third):
        while each.prefixes.size:  # asserts that a block is evicted after its successors
            each.prefixes.resize(each.prefixes.size - 1)


def test_the_most_recent_blocks_are_read_ahead_within_the_bound(disk_cache: Callable[..., DiskCache]) -> None:
    first = disk_cache()
    for variant in range(4):
        first.store(*numbers(150, variant))
    first.store(*numbers(150, 9), namespace="another's")
    first.close()
    ages = {0: 400, 1: 100, 2: 300, 3: 200, 9: 50}
    now = time.time()
    for variant, age in ages.items():
        for stored in first.disk._index.blocks.values():
            data = (first.folder / stored.name).read_bytes()
            if mx.array(variant * 1000 + stored.start, mx.float32).item() in _floats(data, stored.size):
                os.utime(first.folder / stored.name, (now - age, now - age))
    second = disk_cache()
    each = sum(path.stat().st_size for path in first.files()) / 5
    read_ahead(second, int(2.5 * each))
    held = [stored_tokens(second.prefixes, [*numbers(150, variant)[0], 5]) for variant in range(4)]
    assert held[:2] == [0, 150] and held[2] < 150 and held[3] == 150
    assert second.prefixes.find("another's", numbers(150, 9)[0]) is None
    second.prefixes.resize(1)  # asserts that a block is evicted after its successors
    assert second.prefixes.size == 0


def _floats(data: bytes, size: int) -> set[float]:
    return set(np.frombuffer(data[-size:], np.float32).tolist())


def test_the_prefix_of_a_conversation_that_is_too_long_is_read_ahead(disk_cache: Callable[..., DiskCache]) -> None:
    first = disk_cache()
    first.store(*numbers(10 * BLOCK))
    first.close()
    second = disk_cache()
    read_ahead(second, sum(path.stat().st_size for path in first.files()) // 2)
    tokens = [*numbers(10 * BLOCK)[0], 5]
    assert content(second, tokens) == tokens[: 5 * BLOCK]
    assert second.restore(tokens) == 5 * BLOCK and content(second, tokens) == tokens[:-1]


class Counted(dict[bytes, BlockFile]):
    asked = 0

    def get(self, key: bytes, default: Any = None) -> Any:
        self.asked += 1
        return super().get(key, default)


def test_blocks_that_are_not_read_ahead_are_visited_once() -> None:
    blocks, backwards = Counted(), Counted()
    for root in (b"missing", b"another namespace's", b"root"):
        parent = root
        for place in range(500):
            key = root + bytes(str(place), "ascii")
            blocks[key] = BlockFile(key, parent, place * BLOCK, BLOCK, "block", 1, used=-place)
            backwards[key] = replace(blocks[key], used=place)
            parent = key
    del blocks[b"missing0"], backwards[b"missing0"]
    found = recent(blocks, b"root", PLENTY)
    assert [stored.start for stored in found] == [place * BLOCK for place in range(500)]
    assert recent(backwards, b"root", PLENTY) == found
    assert blocks.asked + backwards.asked < 4 * len(blocks)


def test_planning_to_read_ahead_delays_no_request(
    disk_cache: Callable[..., DiskCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens, cache = numbers(2 * BLOCK)
    disk_cache().store(tokens, cache)
    second = disk_cache()
    done, stat = threading.Event(), os.stat

    def slow(path: Any, *more: Any, **options: Any) -> os.stat_result:
        if str(path).endswith(block_files.SUFFIX):
            done.wait(PATIENCE)
        return stat(path, *more, **options)

    monkeypatch.setattr(os, "stat", slow)
    second.disk.read_ahead(second.prefixes.root_key(""), PLENTY)
    while second.disk._plan:
        time.sleep(0.01)
    fetch = second.disk.fetch(second.prefixes, "", [*tokens, 1])
    assert fetch is not None
    deadline = time.monotonic() + PATIENCE / 2
    while not fetch.done and time.monotonic() < deadline:
        time.sleep(0.01)
    come = fetch.done
    done.set()
    assert come


def test_a_prompt_is_served_before_reading_ahead(disk_cache: Callable[..., DiskCache]) -> None:
    first = disk_cache()
    for variant in range(20):
        first.store(*numbers(640, variant))
    second = disk_cache()
    second.disk.read_ahead(second.prefixes.root_key(""), PLENTY)
    tokens = [*numbers(640, 7)[0], 5]
    fetch = second.disk.fetch(second.prefixes, "", tokens)
    assert fetch is not None
    while not fetch.done:
        assert second.woken.wait(PATIENCE)
        second.woken.clear()
    second.disk.collect(second.prefixes)
    assert content(second, tokens) == tokens[:640]
    while second.disk._ahead or second.disk._busy:
        time.sleep(0.01)
    second.disk.collect(second.prefixes)
    assert all(stored_tokens(second.prefixes, [*numbers(640, variant)[0], 5]) == 640 for variant in range(20))


def test_a_late_plan_to_read_ahead_does_not_delay_the_end(
    disk_cache: Callable[..., DiskCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    disk_cache().store(*numbers(4 * BLOCK))
    again, begun, read = disk_cache(), threading.Event(), []

    def late(blocks: Any, *_: Any) -> list[BlockFile]:
        begun.set()
        while not again.disk._ending:
            time.sleep(0.01)
        return list(blocks.values())

    monkeypatch.setattr("lmx_daemon.engines.mlx.prefix.disk_thread.recent", late)
    monkeypatch.setattr(
        "lmx_daemon.engines.mlx.prefix.disk_thread.load_block", lambda folder, stored, *_: read.append(stored)
    )
    again.disk.read_ahead(again.prefixes.root_key(""), PLENTY)
    assert begun.wait(PATIENCE)
    again.disk.close(PATIENCE)
    assert read == []

"""The prefix cache's blocks on disk: right answers after a restart, within the bound."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import pytest
from mlx_lm.models.cache import KVCache

from lmx_daemon.contract.generation.requests import MEMORY_ONLY
from lmx_daemon.engines.mlx.prefix.block_files import bound
from lmx_daemon.engines.mlx.prefix.block_keys import BLOCK
from lmx_daemon.engines.mlx.prefix.cache import PrefixCache
from lmx_daemon.storage.prefixes import clear_prefixes, stored_prefixes
from tests.engines.mlx.prefix.disk_cache import PATIENCE, PLENTY, DiskCache, content, numbers
from tests.engines.mlx.reference_answers import (
    CAN_BE_TRIMMED,
    PROMPT,
    answer,
    computed,
    expected,
    model_of,
    stored_tokens,
)
from tests.models import ARCHITECTURES


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_answers_after_a_restart_equal_those_without_a_cache(
    architecture: str, folder: Path, disk_cache: Callable[..., DiskCache]
) -> None:
    model = model_of(architecture, folder / architecture)
    first = disk_cache()
    first.store(PROMPT[:200], computed(model, PROMPT[:200]))
    second = disk_cache()
    assert stored_tokens(second.prefixes, PROMPT) == 0
    assert second.restore(PROMPT) == 200
    hit = second.prefixes.find("", PROMPT)
    assert hit is not None and hit.length == 200
    assert answer(model, hit.cache, PROMPT[200:]) == expected(model, PROMPT)
    assert second.restore(PROMPT) == 0, "it is in memory now"
    second.store(PROMPT[:128], computed(model, PROMPT[:128]))
    third = disk_cache()
    gained = third.restore(PROMPT[:128])
    assert gained == (127 if architecture in CAN_BE_TRIMMED else 0) == stored_tokens(third.prefixes, PROMPT[:128])
    assert second.warnings == []


@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16, mx.float32])
def test_every_number_type_is_restored(dtype: mx.Dtype, disk_cache: Callable[..., DiskCache]) -> None:
    keys = mx.random.normal((1, 2, 128, 4)).astype(dtype)
    disk_cache().store(PROMPT[:128], [KVCache.from_state((keys, keys + 1, 128))])
    again = disk_cache()
    assert again.restore([*PROMPT[:128], 1]) == 128
    hit = again.prefixes.find("", [*PROMPT[:128], 1])
    assert hit is not None
    found, values = hit.cache[0].keys_and_values()
    assert found.dtype == dtype and mx.array_equal(found, keys) and mx.array_equal(values, keys + 1)


def test_memory_and_disk_together_serve_one_prompt(disk_cache: Callable[..., DiskCache]) -> None:
    tokens, cache = numbers(10 * BLOCK + 5)
    disk_cache().store(tokens, cache)
    again = disk_cache()
    again.store(tokens[: 3 * BLOCK], numbers(3 * BLOCK)[1])
    assert again.restore(tokens) == 7 * BLOCK
    assert content(again, tokens) == tokens[: 10 * BLOCK]


def test_blocks_that_memory_evicted_are_read_back(disk_cache: Callable[..., DiskCache]) -> None:
    one, two = numbers(8 * BLOCK), numbers(8 * BLOCK, 1)
    probe = PrefixCache(PLENTY)
    probe.store("", *one)
    small = disk_cache(memory=probe.size * 9 // 8)
    small.store(*one)
    small.store(*two)
    assert len(content(small, one[0])) < 8 * BLOCK - 1
    small.close()
    small = disk_cache(memory=probe.size * 3)
    assert small.restore(one[0]) > 0 and content(small, one[0]) == one[0][:-1]


@pytest.mark.parametrize("meanwhile", [True, False])
def test_restored_blocks_are_evicted_from_the_end(meanwhile: bool, disk_cache: Callable[..., DiskCache]) -> None:
    tokens, cache = numbers(8 * BLOCK)
    first = disk_cache()
    first.store(tokens, cache)
    half = first.prefixes.size // 2
    again = disk_cache()
    fetch = again.disk.fetch(again.prefixes, "", [*tokens, 1])
    assert fetch is not None and again.woken.wait(PATIENCE)
    if meanwhile:
        again.prefixes.resize(half)
    again.disk.collect(again.prefixes)
    again.prefixes.resize(half)
    assert content(again, [*tokens, 1]) == tokens[: 4 * BLOCK]


def test_namespaces_are_separate_on_disk(disk_cache: Callable[..., DiskCache]) -> None:
    tokens, cache = numbers(2 * BLOCK)
    disk_cache().store(tokens, cache, "one")
    again = disk_cache()
    assert again.restore([*tokens, 1], "two") == again.restore([*tokens, 1]) == 0
    assert again.restore([*tokens, 1], "one") == 2 * BLOCK


def test_sparse_file_counts_by_its_allocated_bytes(disk_cache: Callable[..., DiskCache]) -> None:
    """A sparse file of 50 GB in the folder must not evict the other blocks."""
    cache = disk_cache()
    cache.store(*numbers(2 * BLOCK))
    folder = cache.folder
    cache.close()
    blocks = cache.files()
    with (folder / f"{'0' * 64}-{'0' * 64}-0-256b.kv").open("wb") as file:
        file.truncate(50 * 10**9)
    total, deleted = bound(folder.parent, 10**9)
    assert total < 10**9 and deleted == [] and all(block.exists() for block in blocks)
    assert stored_prefixes(folder.parent)[0].size < 10**9


def test_the_bound_holds_and_the_least_recently_used_go(disk_cache: Callable[..., DiskCache]) -> None:
    first = disk_cache()
    for variant in range(4):
        first.store(*numbers(8 * BLOCK, variant))
    first.close()
    for path in first.files():
        os.utime(path, (0, 0) if "-0-64b" not in path.name else None)
    total = sum(path.stat().st_size for path in first.files())
    again = disk_cache(max_bytes=total // 2)
    again.close()
    assert sum(path.stat().st_size for path in again.files()) <= total // 2
    assert sum("-0-64b" in path.name for path in again.files()) == 4, "the beginnings were used last"
    for variant in range(4, 12):
        again = disk_cache(max_bytes=total // 2)
        again.store(*numbers(8 * BLOCK, variant))
        again.close()
    assert sum(path.stat().st_size for path in again.files()) <= total // 2 + total // 16


def test_a_used_block_counts_as_recent(disk_cache: Callable[..., DiskCache]) -> None:
    tokens, cache = numbers(2 * BLOCK)
    disk_cache().store(tokens, cache)
    again = disk_cache()
    for path in again.files():
        os.utime(path, (0, 0))
    assert again.restore([*tokens, 1]) == 2 * BLOCK and content(again, [*tokens, 1])
    again.close()
    assert all(path.stat().st_mtime > time.time() - 60 for path in again.files())


def test_blocks_beyond_the_write_queue_are_not_written(
    disk_cache: Callable[..., DiskCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmx_daemon.engines.mlx.prefix.disk_tier.QUEUE_BYTES", 0)
    first = disk_cache()
    first.store(*numbers(4 * BLOCK))
    first.close()
    assert first.files() == [] and first.disk.dropped == 4


def test_a_full_disk_is_reported_once(disk_cache: Callable[..., DiskCache]) -> None:
    first = disk_cache(reserve=1 << 60)
    tokens, cache = numbers(4 * BLOCK)
    first.store(tokens, cache)
    first.close()
    assert first.files() == [] and len(first.warnings) == 1 and "disk space" in first.warnings[0]
    assert content(first, tokens) == tokens[:-1]


def test_a_deleted_folder_is_created_again(disk_cache: Callable[..., DiskCache]) -> None:
    disk_cache().store(*numbers(4 * BLOCK))
    first = disk_cache()
    shutil.rmtree(first.folder.parent, ignore_errors=True)  # the disk thread removes empty folders meanwhile
    first.store(*numbers(4 * BLOCK, 1))
    first.close()
    assert len(first.files()) == 4 and first.warnings == []


def test_files_are_private(disk_cache: Callable[..., DiskCache]) -> None:
    first = disk_cache()
    first.store(*numbers(BLOCK))
    first.close()
    (file,) = first.files()
    assert file.stat().st_mode & 0o777 == 0o600 and first.folder.stat().st_mode & 0o777 == 0o700


def test_the_longest_matching_tail_is_found(disk_cache: Callable[..., DiskCache]) -> None:
    first = disk_cache()
    tokens, cache = numbers(300)
    for length in (70, 90, 100, 128, 140):
        part = [KVCache.from_state((cache[0].keys[:, :, :length], cache[0].values[:, :, :length], length))]
        first.store(tokens[:length], part)
    for asked, known in ((140, 128), (141, 140), (300, 140), (127, 100), (91, 90), (80, 64)):
        second = disk_cache()
        prompt = [*tokens[: asked - 1], 9999]
        second.restore(prompt)
        assert content(second, prompt) == tokens[:known]


def test_short_tails_are_not_written_and_known_tails_not_read(disk_cache: Callable[..., DiskCache]) -> None:
    first = disk_cache()
    first.store(*numbers(70))
    first.store(*numbers(84, variant=1))
    assert first.restore([*numbers(84, variant=1)[0], 3]) == 0, "memory holds as much"
    second = disk_cache()
    assert [path.name[-6:] for path in second.files() if path.name.endswith("t.kv")] == ["20t.kv"]
    assert second.restore([*numbers(84, variant=1)[0], 3]) == 84
    assert second.restore([*numbers(84, variant=1)[0], 3]) == 0


def test_a_namespace_in_memory_only_is_never_written(disk_cache: Callable[..., DiskCache]) -> None:
    tokens, cache = numbers(4 * BLOCK)
    first = disk_cache(model="org/one")
    first.store(tokens, cache, MEMORY_ONLY + "team")
    assert first.prefixes.find(MEMORY_ONLY + "team", [*tokens, 1]) is not None
    first.close()
    assert first.files() == []


def test_the_folder_of_a_model_contains_its_name(disk_cache: Callable[..., DiskCache]) -> None:
    first = disk_cache(model="org/one")
    first.store(*numbers(2 * BLOCK))
    first.close()
    assert [(one.model, one.blocks) for one in stored_prefixes(first.folder.parent)] == [("org/one", 2)]
    disk_cache(max_bytes=1).close()
    assert not first.folder.exists()


def test_blocks_deleted_by_another_process_are_a_miss(disk_cache: Callable[..., DiskCache]) -> None:
    tokens, cache = numbers(4 * BLOCK)
    disk_cache().store(tokens, cache)
    again = disk_cache()
    clear_prefixes(again.folder.parent)
    assert again.restore([*tokens, 1]) == 0 and again.warnings == []
    again.store(tokens, cache)
    again.close()
    assert len(again.files()) == 4

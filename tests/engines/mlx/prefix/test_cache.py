"""The prefix cache in memory: right answers after a hit, sharing, eviction, namespaces."""

from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx_lm.models.cache import CacheList, ConcatenateKVCache, KVCache

from lmx_daemon.engines.mlx.prefix.block_keys import BLOCK, encode
from lmx_daemon.engines.mlx.prefix.cache import MIN_TOKENS, PrefixCache
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

PLENTY = 1 << 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def llama(folder: Path) -> Any:
    return model_of("llama", folder / "llama")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_answers_after_a_hit_equal_those_without_a_cache(architecture: str, folder: Path) -> None:
    model = model_of(architecture, folder / architecture)
    prefixes = PrefixCache(PLENTY)
    for length in (200, 192, 17, 256):
        prefixes.store("", PROMPT[:length], computed(model, PROMPT[:length]))
    for length in (300, 257, 256, 230, 193, 192, 30):
        hit = prefixes.find("", PROMPT[:length])
        assert hit is not None
        kept = range(257) if architecture in CAN_BE_TRIMMED else (200, 192, 17, 256)
        assert hit.length == max(n for n in kept if n < length)
        assert answer(model, hit.cache, PROMPT[hit.length : length]) == expected(model, PROMPT[:length])
    again = prefixes.find("", PROMPT)
    assert again is not None and answer(model, again.cache, PROMPT[256:]) == expected(model, PROMPT), "stored is stored"


@pytest.mark.parametrize("architecture", ["llama", "deepseek_v3"])
@pytest.mark.parametrize("common", [9, 63, 64, 150])
def test_any_common_prefix_is_found_if_caches_can_be_cut(architecture: str, common: int, folder: Path) -> None:
    model = model_of(architecture, folder / architecture)
    prefixes = PrefixCache(PLENTY)
    prefixes.store("", PROMPT[:200], computed(model, PROMPT[:200]))
    other = PROMPT[:common] + [2 + n for n in range(20)]
    hit = prefixes.find("", other)
    assert hit is not None and hit.length == common
    assert answer(model, hit.cache, other[common:]) == expected(model, other)


def test_a_stored_prompt_is_found_up_to_its_last_token(llama: Any) -> None:
    prefixes = PrefixCache(PLENTY)
    prefixes.store("", PROMPT[:128], computed(llama, PROMPT[:128]))
    assert [stored_tokens(prefixes, PROMPT[:length]) for length in (128, 127, 65, 64)] == [127, 126, 64, 63]
    assert stored_tokens(prefixes, PROMPT[:MIN_TOKENS]) == 0


def test_sequences_share_their_blocks(llama: Any) -> None:
    prefixes = PrefixCache(PLENTY)
    prefixes.store("", PROMPT[:256], computed(llama, PROMPT[:256]))
    alone = prefixes.size
    branch = PROMPT[:256] + [5] * BLOCK
    prefixes.store("", branch, computed(llama, branch))
    assert prefixes.size == pytest.approx(alone * 5 / 4)
    prefixes.store("", branch, computed(llama, branch))
    assert prefixes.size == pytest.approx(alone * 5 / 4)


def test_a_longer_sequence_replaces_a_shorter_end(llama: Any) -> None:
    prefixes = PrefixCache(PLENTY)
    for length in (100, 110, 120):
        prefixes.store("", PROMPT[:length], computed(llama, PROMPT[:length]))
    grown = prefixes.size
    fresh = PrefixCache(PLENTY)
    fresh.store("", PROMPT[:120], computed(llama, PROMPT[:120]))
    assert grown == fresh.size


def test_a_growing_short_sequence_is_stored_once() -> None:
    prefixes = PrefixCache(PLENTY)
    for length in (20, 40, 60):
        prefixes.store("", PROMPT[:length], tiny_cache(PROMPT[:length]))
        assert stored_tokens(prefixes, PROMPT) == length
    fresh = PrefixCache(PLENTY)
    fresh.store("", PROMPT[:60], tiny_cache(PROMPT[:60]))
    assert prefixes.size == fresh.size
    prefixes.resize(0)
    assert prefixes.size == 0


def test_namespaces_share_nothing(llama: Any) -> None:
    prefixes = PrefixCache(PLENTY)
    prefixes.store("one", PROMPT, computed(llama, PROMPT))
    assert stored_tokens(prefixes, PROMPT, "one") == len(PROMPT) - 1
    assert stored_tokens(prefixes, PROMPT, "two") == stored_tokens(prefixes, PROMPT) == 0
    assert prefixes.root_key("one") != prefixes.root_key("two")


def test_the_least_recently_used_sequence_is_evicted_from_its_end(llama: Any) -> None:
    first, second = PROMPT[:256], [9, *PROMPT[1:256]]
    prefixes = PrefixCache(PLENTY)
    prefixes.store("", first, computed(llama, first))
    prefixes = PrefixCache(prefixes.size * 3 // 2)
    for tokens in (first, second):
        prefixes.store("", tokens, computed(llama, tokens))
        assert prefixes.size <= prefixes.max_bytes
    assert (stored_tokens(prefixes, [*first, 1]), stored_tokens(prefixes, [*second, 1])) == (128, 256)
    stored_tokens(prefixes, [*first, 1])
    third = [8, *PROMPT[1:129]]
    prefixes.store("", third, computed(llama, third))
    assert stored_tokens(prefixes, [*first, 1]) == 128, "used later than the second"
    assert stored_tokens(prefixes, [*second, 1]) < 256


def test_a_sequence_that_is_too_long_is_stored_as_a_prefix(llama: Any) -> None:
    prefixes = PrefixCache(PLENTY)
    prefixes.store("", PROMPT[:BLOCK], computed(llama, PROMPT[:BLOCK]))
    prefixes = PrefixCache(prefixes.size * 2 + 100)
    prefixes.store("", PROMPT, computed(llama, PROMPT))
    assert stored_tokens(prefixes, PROMPT) == 2 * BLOCK


def test_a_sequence_that_barely_fits_is_stored_as_whole_blocks() -> None:
    prefixes = PrefixCache(PLENTY)
    prefixes.store("", PROMPT[:BLOCK], tiny_cache(PROMPT[:BLOCK]))
    prefixes = PrefixCache(prefixes.size * 2)
    prefixes.store("", PROMPT[:100], tiny_cache(PROMPT[:100]))
    assert stored_tokens(prefixes, PROMPT) == BLOCK
    assert all(node.length == BLOCK for node in prefixes._order.values())


def test_an_inconsistent_or_unknown_cache_is_not_stored(llama: Any) -> None:
    prefixes = PrefixCache(PLENTY)
    prefixes.store("", PROMPT, computed(llama, PROMPT[:-1]))
    prefixes.store("", PROMPT, [ConcatenateKVCache()])
    prefixes.store("", PROMPT, [CacheList(KVCache(), ConcatenateKVCache())])
    assert prefixes.size == 0 and prefixes.layout is None
    nothing = PrefixCache(0)
    nothing.store("", PROMPT, computed(llama, PROMPT))
    assert nothing.size == 0 and not nothing._roots


def test_stored_blocks_do_not_keep_their_source_alive(llama: Any) -> None:
    cache = computed(llama, PROMPT[: 2 * BLOCK] * 16)
    mx.clear_cache()
    prefixes = PrefixCache(PLENTY)
    before = mx.get_active_memory()
    prefixes.store("", (PROMPT[: 2 * BLOCK] * 16)[:BLOCK], [cut_to(part, BLOCK) for part in cache])
    whole = sum(part.nbytes for part in cache)
    del cache
    mx.synchronize()
    assert mx.get_active_memory() < before - whole + prefixes.size * 2


def cut_to(part: Any, length: int) -> Any:
    return KVCache.from_state((part.keys, part.values, length))


class Reference:
    """Model of a prefix cache without a bound: it finds the longest common prefix."""

    def __init__(self) -> None:
        self.stored: list[list[int]] = []

    def find(self, tokens: list[int]) -> int:
        best = 0
        for stored in self.stored:
            common = next((n for n, (a, b) in enumerate(zip(stored, tokens, strict=False)) if a != b), len(stored))
            best = max(best, min(common, len(stored), len(tokens) - 1))
        return best if best >= MIN_TOKENS else 0


def tiny_cache(tokens: list[int]) -> list[Any]:
    """Return a cache whose content is computed from its tokens."""
    keys = mx.array(tokens, mx.float32).reshape(1, 1, -1, 1)
    return [KVCache.from_state((keys, keys * 2, len(tokens)))]


pieces = st.lists(st.sampled_from([10, 54, 64, 65, 100]), min_size=1, max_size=4)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), pieces, st.integers(0, 2)), max_size=12))
def test_find_equals_a_plain_search(acts: list[tuple[bool, list[int], int]]) -> None:
    prefixes, reference = PrefixCache(PLENTY), Reference()
    for keep, lengths, variant in acts:
        tokens = [n * 7 + variant * (place > 0) for place, n in enumerate(lengths) for n in range(n)]
        if keep:
            prefixes.store("", tokens, tiny_cache(tokens))
            reference.stored.append(tokens)
            continue
        hit = prefixes.find("", tokens)
        assert (hit.length if hit else 0) == reference.find(tokens)
        if hit is not None:
            keys, values = hit.cache[0].keys_and_values()
            assert keys.flatten().tolist() == tokens[: hit.length]
            assert values.flatten().tolist() == [2 * token for token in tokens[: hit.length]]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(pieces, st.integers(0, 3)), max_size=16), st.integers(2000, 12000))
def test_the_bound_holds_and_the_remaining_blocks_are_right(acts: list[tuple[list[int], int]], max_bytes: int) -> None:
    prefixes = PrefixCache(max_bytes)
    for lengths, variant in acts:
        tokens = [n * 7 + variant for n in range(sum(lengths))]
        prefixes.store("", tokens, tiny_cache(tokens))
        assert prefixes.size <= max_bytes
        hit = prefixes.find("", tokens)
        if hit is not None:
            assert hit.cache[0].keys_and_values()[0].flatten().tolist() == tokens[: hit.length]
    prefixes.clear()
    assert prefixes.size == 0 and prefixes.find("", PROMPT) is None


def test_a_token_is_encoded_in_four_bytes() -> None:
    assert encode([1, 262_143]) == (1).to_bytes(4, "little") + (262_143).to_bytes(4, "little")

"""The miss report, from the prompts before a new one."""

from lmx_daemon.engines.mlx.prefix.cache import PrefixCache
from lmx_daemon.engines.mlx.prefix.miss_report import difference
from lmx_daemon.engines.mlx.prefix.sharing import PrefixSharing
from tests.engines.mlx.prefix.test_cache import tiny_cache

PLENTY = 1 << 30
TOKENS = list(range(400))


def test_each_kind_of_difference_has_its_reason() -> None:
    assert "time" in difference("on 2026-11-21 at", "on 2026-11-22 at", 500, None)
    assert "thinking" in difference("\n<think>\nwell", "\nIt is", 500, "<think>")
    assert "beginning" in difference("a", "b", 3, "<think>")
    assert difference("a", "b", 500, None) == "the text changed"


def test_a_hit_beyond_the_recent_prompts_is_not_compared_with_them() -> None:
    wanted = [(TOKENS[:390], (None, "")), ([*TOKENS, *[7] * 200], (400, "no more of it was known"))]
    for before in ([], [0, *[5] * 99]):
        for tokens, expected in wanted:
            sharing = PrefixSharing(PrefixCache(PLENTY))
            sharing.store("", TOKENS, tiny_cache(TOKENS))
            if before:
                sharing.start(sharing.look_up("", before))
            found = sharing.start(sharing.look_up("", tokens))
            assert (found.first_difference, found.miss) == expected


def test_tokens_that_were_never_computed_are_not_reported_as_evicted() -> None:
    for held, miss in ((192, ""), (399, "evicted")):
        sharing = PrefixSharing(PrefixCache(PLENTY))
        arrival = sharing.look_up("", TOKENS)
        sharing.register(0, arrival, sharing.start(arrival))
        sharing.advance(0, held, None)
        sharing.store("", TOKENS[:192], tiny_cache(TOKENS[:192]))
        sharing.release(0)
        again = sharing.start(sharing.look_up("", TOKENS))
        assert (again.cached, again.miss) == (192, miss)

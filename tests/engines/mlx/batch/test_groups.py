"""The choice of a group: similar lengths share one, and padding costs less than another call of the model."""

import random

from lmx_daemon.engines.mlx.batch.groups import PADDING, GroupShape, choose_group, padding_allowance


def test_similar_lengths_share_a_group() -> None:
    assert choose_group([], 10) is None
    assert choose_group([GroupShape(64, 31, 64 * 31)], 4096) is None
    assert choose_group([GroupShape(4096, 1, 4096)], 64) is None
    assert choose_group([GroupShape(4096, 1, 4096), GroupShape(64, 4, 250)], 80) == 1
    assert choose_group([GroupShape(4096, 1, 4096)], 3500) == 0


def test_padding_within_the_allowance_is_accepted() -> None:
    room = padding_allowance(weights=4_500_000_000, token=131_072)
    assert (
        room == PADDING[1] and padding_allowance(10, 131_072) == PADDING[0] and padding_allowance(10, 0) == PADDING[0]
    )
    assert choose_group([GroupShape(1500, 1, 1500)], 64, room) == 0
    assert choose_group([GroupShape(1500, 2, 1564)], 64, room) is None


def test_padding_is_bounded_for_every_order_of_arrival() -> None:
    generator = random.Random(4)
    for _ in range(200):
        groups: list[list[int]] = []
        for _ in range(32):
            length = int(2 ** generator.uniform(3, 14))
            found = choose_group([GroupShape(max(group), len(group), sum(group)) for group in groups], length)
            if found is None:
                groups.append([length])
            else:
                groups[found].append(length)
        held = sum(max(group) * len(group) for group in groups)
        assert held <= 1.34 * sum(sum(group) for group in groups) + PADDING[0] * len(groups)

"""Masks that numpy unpacks in place, against those that MLX unpacks."""

import mlx.core as mx
import numpy as np
import pytest

from lmx_daemon.engines.mlx.backend import Masks
from lmx_daemon.engines.mlx.cpu.host_masks import HostMasks

ALL = np.uint32(0xFFFFFFFF)


def test_a_mask_is_zero_for_allowed_tokens_and_minus_infinity_for_others() -> None:
    bits = np.array([[0b101]], np.uint32)
    assert HostMasks([0], 1, 4).of(bits).tolist() == [[0.0, -np.inf, 0.0, -np.inf]]


@pytest.mark.parametrize("vocabulary", (512, 500, 509, 7))
def test_successive_masks_equal_those_of_a_gpu(vocabulary: int) -> None:
    random = np.random.default_rng(1)
    host, device = HostMasks([0, 2], 3, vocabulary), Masks(vocabulary)
    bits = np.full((3, -(-vocabulary // 32)), ALL, np.uint32)
    for step in range(20):
        if step % 4 == 0:  # everything changes
            bits[[0, 2]] = random.integers(0, 2**32, (2, bits.shape[1]), np.uint32)
        elif step % 4 == 1:  # one word changes
            bits[2, random.integers(bits.shape[1])] ^= np.uint32(0x00FF_0100)
        elif step % 4 == 2:  # nothing changes
            bits[0] = ALL
        assert mx.array_equal(host.of(bits), device.of(bits))


def test_rows_without_a_limit_stay_as_they_are() -> None:
    bits = np.zeros((2, 1), np.uint32)
    assert HostMasks([1], 2, 32).of(bits)[0].tolist() == [0.0] * 32

"""Masks that numpy applies, against those that MLX applies."""

import mlx.core as mx
import numpy as np
import pytest

from lmx_daemon.engines.mlx.backend import Masks
from lmx_daemon.engines.mlx.cpu.host_masks import HostMasks

ALL = np.uint32(0xFFFFFFFF)


def test_logits_of_tokens_without_a_bit_become_minus_infinity() -> None:
    logits, bits = mx.array([[1.0, 2.0, 3.0, 4.0]]), np.array([[0b101]], np.uint32)
    assert HostMasks([0], 1, 4).apply(logits, bits).tolist() == [[1.0, -np.inf, 3.0, -np.inf]]
    assert logits.tolist() == [[1.0, 2.0, 3.0, 4.0]], "the input is left as it is"


@pytest.mark.parametrize("allowed", (0.002, 0.1, 0.5, 0.97, 1.0))
@pytest.mark.parametrize("vocabulary", (512, 500, 509, 7))
def test_masked_logits_equal_those_of_a_gpu(vocabulary: int, allowed: float) -> None:
    random = np.random.default_rng(1)
    host, device = HostMasks([0, 2], 3, vocabulary), Masks(vocabulary)
    for _ in range(5):
        logits = mx.array(random.standard_normal((3, vocabulary), np.float32))
        tokens = random.random((3, -(-vocabulary // 32) * 32)) < allowed
        bits = np.packbits(tokens, axis=1, bitorder="little").view(np.uint32)
        bits[1] = ALL
        assert mx.array_equal(host.apply(logits, bits), device.apply(logits, bits))


def test_rows_without_a_limit_stay_as_they_are() -> None:
    logits = mx.random.normal((2, 32))
    masked = HostMasks([1], 2, 32).apply(logits, np.zeros((2, 1), np.uint32))
    assert masked[0].tolist() == logits[0].tolist()
    assert masked[1].tolist() == [-np.inf] * 32


def test_half_precision_logits_are_masked_as_float32() -> None:
    logits = mx.array([[1.0, 2.0, 3.0, 4.0]], mx.bfloat16)
    masked = HostMasks([0], 1, 4).apply(logits, np.array([[0b0110]], np.uint32))
    assert masked.dtype == mx.float32 and masked.tolist() == [[-np.inf, 2.0, 3.0, -np.inf]]

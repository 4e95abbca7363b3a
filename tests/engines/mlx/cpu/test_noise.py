"""Gumbel noise on small known distributions."""

from collections import Counter
from typing import Any

import numpy as np
import pytest

from lmx_daemon.engines.mlx.cpu.noise import Noise
from lmx_daemon.engines.mlx.sampling.draw import bases

PROBABILITIES = np.array([0.25, 0.5, 0.03, 0.15, 0.07], np.float32)


def noise(starts: Any, positions: list[int], vocabulary: int) -> Any:
    return Noise(starts, [1.0] * len(positions), vocabulary).at(positions)


def test_noise_samples_from_the_distribution() -> None:
    starts, counted = bases([(seed, 0) for seed in range(50)]), Counter[int]()
    for position in range(400):
        found = np.log(PROBABILITIES) + noise(starts, [position] * 50, len(PROBABILITIES))
        counted.update(found.argmax(axis=-1).tolist())
    shares = [counted[token] / 20_000 for token in range(len(PROBABILITIES))]
    assert shares == pytest.approx(PROBABILITIES.tolist(), abs=0.015)


def test_noise_is_finite_even_at_its_ends_and_has_gumbels_moments() -> None:
    found = noise(bases([(seed, 0) for seed in range(16)]), list(range(16)), (1 << 20) - 1)
    assert found.dtype == np.float32 and np.isfinite(found).all() and found.max() < 17.4
    assert found.mean() - np.log(np.log(2.0)) == pytest.approx(0.5772, abs=0.002) and found.std() == pytest.approx(
        1.2825, abs=0.002
    )
    assert np.abs(np.corrcoef(found) - np.eye(16)).max() < 0.01
    assert abs(np.corrcoef(found[0, :-1], found[0, 1:])[0, 1]) < 0.01


def test_noise_made_ahead_is_the_noise_of_its_rows_and_positions() -> None:
    starts = bases([(3, 0), (3, 1), (8, 0)])
    ahead = Noise(starts, [1.0, 0.5, 2.0], 301)
    scale = np.array([[1.0], [0.5], [2.0]], np.float32)
    for positions in ([0, 4, 9], [1, 5, 10], [2, 6, 11], [7, 7, 7], [8, 8, 8]):
        alone = [noise(starts[row : row + 1], [position], 301) for row, position in enumerate(positions)]
        assert (ahead.at(positions) == np.concatenate(alone) * scale).all()
        ahead.ahead()

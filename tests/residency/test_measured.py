"""Tests of measurements. Each is stored under the model's files, the kind of device and the program."""

from pathlib import Path

import pytest

from lmx_daemon.contract.models import Model
from lmx_daemon.contract.worker.cache_shape import CacheShape, Growing
from lmx_daemon.memory.need import Measured
from lmx_daemon.residency.measured import MAX_MODELS, Measurements

VERSIONS = {"mlx-lm": "1.0"}
FOUND = Measured(weights=5, process=6, cache=CacheShape(fixed=1, growing=(Growing(per_token=2, window=3),)))


def model(name: str = "a/b", revision: str = "r1") -> Model:
    return Model(id=name, path="", source="hub", revision=revision)


def keep(kept: Measurements, of: Model, backend: str = "cpu") -> bool:
    new = kept.note(of, backend, VERSIONS, FOUND)
    kept.write(kept.encoded())
    return new


def test_a_measurement_holds_for_the_same_files_device_and_program(tmp_path: Path) -> None:
    file = tmp_path / "measured.json"
    keep(Measurements(file), model(), "cpu, OpenBLAS")
    again = Measurements(file)
    assert again.of(model(), "cpu, reference BLAS", VERSIONS) == FOUND
    assert again.of(model(revision="r2"), "cpu", VERSIONS) is None
    assert again.of(model(), "metal, M3", VERSIONS) is None
    assert again.of(model(), "cpu", {"mlx-lm": "2.0"}) is None


@pytest.mark.parametrize("content", [b"", b"{", b'{"models": 3}', b'{"models": {"x": {"weights": "y"}}}', b"\xff\x00"])
def test_a_broken_file_is_replaced(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "measured.json"
    file.write_bytes(content)
    kept = Measurements(file)
    assert kept.of(model(), "cpu", VERSIONS) is None
    keep(kept, model())
    assert Measurements(file).of(model(), "cpu", VERSIONS) == FOUND


def test_the_oldest_measurements_are_dropped_above_the_limit(tmp_path: Path) -> None:
    kept = Measurements(tmp_path / "measured.json")
    for number in range(MAX_MODELS + 1):
        keep(kept, model(f"a/{number}"))
    assert kept.of(model("a/0"), "cpu", VERSIONS) is None
    assert kept.of(model(f"a/{MAX_MODELS}"), "cpu", VERSIONS) == FOUND


def test_a_file_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    kept = Measurements(tmp_path / "nowhere" / "measured.json")
    keep(kept, model())
    assert kept.of(model(), "cpu", VERSIONS) == FOUND


def test_an_equal_measurement_is_not_new(tmp_path: Path) -> None:
    kept = Measurements(tmp_path / "measured.json")
    assert keep(kept, model()) and not keep(kept, model())

"""What loads have told is kept, by files, kind of device and program; a broken file costs nothing."""

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


async def test_kept_for_the_same_files_device_and_program(tmp_path: Path) -> None:
    file = tmp_path / "measured.json"
    await Measurements(file).keep(model(), "cpu, OpenBLAS", VERSIONS, FOUND)
    again = Measurements(file)
    assert again.of(model(), "cpu, reference BLAS", VERSIONS) == FOUND
    assert again.of(model(revision="r2"), "cpu", VERSIONS) is None
    assert again.of(model(), "metal, M3", VERSIONS) is None
    assert again.of(model(), "cpu", {"mlx-lm": "2.0"}) is None


@pytest.mark.parametrize("content", [b"", b"{", b'{"models": 3}', b'{"models": {"x": {"weights": "y"}}}', b"\xff\x00"])
async def test_a_broken_file_is_begun_anew(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "measured.json"
    file.write_bytes(content)
    kept = Measurements(file)
    assert kept.of(model(), "cpu", VERSIONS) is None
    await kept.keep(model(), "cpu", VERSIONS, FOUND)
    assert Measurements(file).of(model(), "cpu", VERSIONS) == FOUND


async def test_it_is_bounded_and_the_oldest_go(tmp_path: Path) -> None:
    kept = Measurements(tmp_path / "measured.json")
    for number in range(MAX_MODELS + 1):
        await kept.keep(model(f"a/{number}"), "cpu", VERSIONS, FOUND)
    assert kept.of(model("a/0"), "cpu", VERSIONS) is None
    assert kept.of(model(f"a/{MAX_MODELS}"), "cpu", VERSIONS) == FOUND


async def test_a_directory_that_cannot_be_written_costs_no_load(tmp_path: Path) -> None:
    kept = Measurements(tmp_path / "nowhere" / "measured.json")
    await kept.keep(model(), "cpu", VERSIONS, FOUND)
    assert kept.of(model(), "cpu", VERSIONS) == FOUND

"""Tests of presets whose models are only each other."""

from pathlib import Path

import pytest

from lmx_daemon.contract.errors import ModelNotFoundError
from tests.residency.fakes import ONE_FITS
from tests.router.routing import RoutedHarness


@pytest.mark.parametrize("download", [False, True])
async def test_presets_that_name_each_other_are_refused(tmp_path: Path, download: bool) -> None:
    presets = tmp_path / "presets"
    presets.mkdir()
    (presets / "one.toml").write_text('model = "preset:two"')
    (presets / "two.toml").write_text('model = "preset:one"')
    router = RoutedHarness(tmp_path, ONE_FITS, {"big": 30}, download_missing=download).router
    for find in (router.model_to_load, router.find):
        with pytest.raises(ModelNotFoundError, match="name only each other"):
            await find("preset:one")

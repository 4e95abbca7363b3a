"""Credentials in the address of a Hub."""

from pathlib import Path

import pytest

from lmx_daemon.library.hub.hub import without_credentials
from lmx_daemon.library.pull.pull_queue import PullQueue
from lmx_daemon.settings.schema import LibrarySettings
from tests.library.pull.pulling import folder_of, pull


@pytest.mark.parametrize(
    ("endpoint", "kept"),
    [
        ("https://huggingface.co", "https://huggingface.co"),
        ("https://user:s3cret@mirror.test:8443/hub@1", "https://mirror.test:8443/hub@1"),
        ("http://token@[::1]:80", "http://[::1]:80"),
    ],
)
def test_address_is_kept_without_user_and_password(endpoint: str, kept: str) -> None:
    assert without_credentials(endpoint) == kept


async def test_credentials_of_the_address_are_not_in_the_cache(environ: dict[str, str], tmp_path: Path) -> None:
    environ["HF_ENDPOINT"] = environ["HF_ENDPOINT"].replace("://", "://user:s3cret@")
    pulls = PullQueue(lambda: LibrarySettings(reserve_bytes=0), environ, tmp_path / "records")
    assert (await pull(pulls)).state == "done"
    (manifest,) = folder_of(environ).glob(".lmx/*.json")
    files = [*(tmp_path / "records").glob("*.json"), manifest]
    assert not [file for file in files if "s3cret" in file.read_text()]

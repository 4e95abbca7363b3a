"""Credentials in the address of a Hub."""

from pathlib import Path
from typing import Any

import pytest

from lmx_daemon.contract.admin.library.hub import SearchRequest
from lmx_daemon.contract.admin.library.pulls import PullRequest
from lmx_daemon.contract.errors import LmxError
from lmx_daemon.library.hub.addresses import completed_address, without_credentials
from lmx_daemon.library.pull.pull_queue import PullQueue
from lmx_daemon.settings.schema import LibrarySettings
from tests.library.conftest import REPO, StandIn
from tests.library.pull.pulling import folder_of, pull
from tests.library.repositories import library_of


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


def with_password(endpoint: str) -> str:
    return endpoint.replace("://", "://user:s3cret@")


def test_known_address_with_credentials_completes_a_recorded_one() -> None:
    known = None, "https://other.test", "https://u:p@mirror.test/"
    assert completed_address("https://mirror.test", known) == "https://u:p@mirror.test/"
    assert completed_address("https://third.test", known) == "https://third.test"
    assert completed_address(None, known) is None


async def test_credentials_of_a_request_are_used_and_not_recorded(
    environ: dict[str, str], tmp_path: Path, hub: StandIn
) -> None:
    pulls = PullQueue(lambda: LibrarySettings(reserve_bytes=0), {**environ, "HF_ENDPOINT": ""}, tmp_path / "records")
    job = await pulls.start(PullRequest(repo=REPO, endpoint=with_password(environ["HF_ENDPOINT"])))
    async for download in pulls.watch(job.id):
        job = download
    assert job.state == "done" and [row for row in hub.requests() if row["auth"]]
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and b"s3cret" in file.read_bytes()]


@pytest.mark.parametrize(
    "faults",
    [
        {"status": 500, "status_times": 99},
        {"status": 404, "status_times": 99},
        {"status": 403, "status_times": 99},
        {"gated": True},
        {"tree": 1},
        {"location": "http://127.0.0.1:9/x?Signature=s3cret&Policy=s3cret"},
        {"status": 403, "status_on": "/cdn", "status_times": 99},
    ],
    ids=str,
)
async def test_no_error_shows_credentials(
    environ: dict[str, str], tmp_path: Path, hub: StandIn, faults: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    environ["HF_ENDPOINT"] = with_password(environ["HF_ENDPOINT"])
    hub.faults(**faults)
    settings = LibrarySettings(reserve_bytes=0, patience_seconds=0.1)
    pulls = PullQueue(lambda: settings, environ, tmp_path / "records")
    job = await pulls.start(PullRequest(repo=REPO))
    shown = [str(job)]
    async for download in pulls.watch(job.id):
        shown.append(str(download))
    try:
        shown.append(str(library_of(tmp_path, environ).search().search(SearchRequest())))
    except LmxError as error:
        shown.append(f"{error.message} {error.hint}")
    assert not [text for text in (*shown, caplog.text) if "s3cret" in text]


@pytest.mark.parametrize("text", ["https://user:s3cret@", "user:s3cret@mirror.test", "ftp://user:s3cret@mirror.test"])
def test_invalid_address_is_refused_without_its_credentials(tmp_path: Path, text: str) -> None:
    with pytest.raises(LmxError) as refused:
        library_of(tmp_path).search(text).search(SearchRequest())
    assert "s3cret" not in f"{refused.value.message} {refused.value.hint}"

"""Progress and rate limit of pulls, with a clock that the test sets."""

import pytest

from lmx_daemon.contract.admin.library.pulls import Download
from lmx_daemon.library.pull.progress import STALLED_SECONDS, PullProgress
from lmx_daemon.library.pull.throttle import Throttle
from lmx_daemon.library.verify.manifest import Manifest, ManifestFile

FILE = ManifestFile(path="m", size=10_000_000, git_sha1="a" * 40)
MANIFEST = Manifest(repo="a/b", commit="c" * 40, files=(FILE,))
BASE = Download(id="1", repo="a/b", state="queued")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def progress(clock: Clock) -> PullProgress:
    return PullProgress(clock)


def test_rate_and_eta(progress: PullProgress, clock: Clock) -> None:
    progress.resolved()
    progress.begins("m", "downloading")
    for _ in range(20):
        clock.now += 0.5
        progress.received(100_000)
    download = progress.download(BASE, MANIFEST)
    assert (download.state, download.done, download.file) == ("downloading", 2_000_000, "m")
    assert download.rate == pytest.approx(200_000, rel=0.1) and download.eta == pytest.approx(40, rel=0.1)


def test_pull_without_bytes_is_stalled_until_bytes_arrive(progress: PullProgress, clock: Clock) -> None:
    progress.resolved()
    progress.begins("m", "downloading")
    clock.now += STALLED_SECONDS
    assert progress.download(BASE, MANIFEST).state == "downloading"
    clock.now += 0.1
    assert progress.download(BASE, MANIFEST).state == "stalled"
    progress.received(1)
    assert progress.download(BASE, MANIFEST).state == "downloading"


def test_verifying_pull_is_never_stalled(progress: PullProgress, clock: Clock) -> None:
    progress.resolved()
    progress.found(4_000_000)
    progress.begins("m", "verifying")
    progress.checked(1_000_000)
    clock.now += 2 * STALLED_SECONDS
    download = progress.download(BASE, MANIFEST)
    assert (download.state, download.checked, download.to_check, download.done) == (
        "verifying",
        1_000_000,
        4_000_000,
        1_000_000,
    )
    progress.begins("n", "downloading")
    progress.received(1)
    assert progress.download(BASE, MANIFEST).state == "downloading", "the other file comes"


def test_retry_shows_its_reason_until_it_continues(progress: PullProgress) -> None:
    progress.resolved()
    progress.begins("m", "downloading")
    progress.retries("m", "m: the Hub answered 503")
    download = progress.download(BASE, MANIFEST)
    assert (download.state, download.retries, download.note) == ("retrying", 1, "m: the Hub answered 503")
    progress.begins("m", "downloading")
    assert progress.download(BASE, MANIFEST).note is None


def test_pull_without_a_manifest_is_queued_or_retrying(progress: PullProgress) -> None:
    assert (progress.download(BASE, None).state, progress.download(BASE, None).total) == ("queued", None)
    progress.retries("", "cannot ask")
    assert progress.download(BASE, None).state == "retrying"


def test_pull_that_waits_for_another_program_is_queued(progress: PullProgress) -> None:
    progress.resolved()
    progress.waits("another program")
    assert (progress.download(BASE, MANIFEST).state, progress.download(BASE, MANIFEST).note) == (
        "queued",
        "another program",
    )
    progress.waits(None)
    assert progress.download(BASE, MANIFEST).state == "downloading"


class TestThrottle:
    def test_no_rate_is_no_delay(self, clock: Clock) -> None:
        assert Throttle(lambda: None, clock).delay(10**12) == 0

    def test_delay_matches_the_rate(self, clock: Clock) -> None:
        rate: list[int | None] = [1_000_000]
        throttle = Throttle(lambda: rate[0], clock)
        assert throttle.delay(500_000) == pytest.approx(0.5)
        clock.now += 0.5
        assert throttle.delay(100_000) == pytest.approx(0.1)
        rate[0] = None
        assert throttle.delay(10**9) == 0

    def test_unused_rate_is_saved_for_a_moment_only(self, clock: Clock) -> None:
        throttle = Throttle(lambda: 1_000_000, clock)
        clock.now += 3600
        assert throttle.delay(250_000) == 0
        assert throttle.delay(1_000_000) == pytest.approx(1.0)

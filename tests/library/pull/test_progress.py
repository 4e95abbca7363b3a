"""What a pull tells of itself: rates, stalls, verifying, with a clock of the test's own; and the bound on speed."""

import pytest

from lmx_daemon.contract.pulls import Download
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
def tally(clock: Clock) -> PullProgress:
    return PullProgress(clock)


def test_rate_and_eta(tally: PullProgress, clock: Clock) -> None:
    tally.resolved()
    tally.begins("m", "downloading")
    for _ in range(20):
        clock.now += 0.5
        tally.received(100_000)
    told = tally.download(BASE, MANIFEST)
    assert (told.state, told.done, told.file) == ("downloading", 2_000_000, "m")
    assert told.rate == pytest.approx(200_000, rel=0.1) and told.eta == pytest.approx(40, rel=0.1)


def test_stalled_after_a_while_and_back(tally: PullProgress, clock: Clock) -> None:
    tally.resolved()
    tally.begins("m", "downloading")
    clock.now += STALLED_SECONDS
    assert tally.download(BASE, MANIFEST).state == "downloading"
    clock.now += 0.1
    assert tally.download(BASE, MANIFEST).state == "stalled"
    tally.received(1)
    assert tally.download(BASE, MANIFEST).state == "downloading"


def test_verifying_is_told_and_does_not_stall(tally: PullProgress, clock: Clock) -> None:
    tally.resolved()
    tally.found(4_000_000)
    tally.begins("m", "verifying")
    tally.checked(1_000_000)
    clock.now += 2 * STALLED_SECONDS
    told = tally.download(BASE, MANIFEST)
    assert (told.state, told.checked, told.to_check, told.done) == ("verifying", 1_000_000, 4_000_000, 1_000_000)
    tally.begins("n", "downloading")
    tally.received(1)
    assert tally.download(BASE, MANIFEST).state == "downloading", "the other file comes"


def test_a_retry_says_why_until_it_goes_on(tally: PullProgress) -> None:
    tally.resolved()
    tally.begins("m", "downloading")
    tally.retries("m", "m: the Hub answered 503")
    told = tally.download(BASE, MANIFEST)
    assert (told.state, told.retries, told.note) == ("retrying", 1, "m: the Hub answered 503")
    tally.begins("m", "downloading")
    assert tally.download(BASE, MANIFEST).note is None


def test_before_the_manifest(tally: PullProgress) -> None:
    assert (tally.download(BASE, None).state, tally.download(BASE, None).total) == ("queued", None)
    tally.retries("", "cannot ask")
    assert tally.download(BASE, None).state == "retrying"


def test_waiting_for_another_program(tally: PullProgress) -> None:
    tally.resolved()
    tally.waits("another program")
    assert (tally.download(BASE, MANIFEST).state, tally.download(BASE, MANIFEST).note) == ("queued", "another program")
    tally.waits(None)
    assert tally.download(BASE, MANIFEST).state == "downloading"


class TestThrottle:
    def test_no_bound(self, clock: Clock) -> None:
        assert Throttle(None, clock).delay(10**12) == 0

    def test_what_is_owed_is_waited_for(self, clock: Clock) -> None:
        throttle = Throttle(1_000_000, clock)
        assert throttle.delay(500_000) == pytest.approx(0.5)
        clock.now += 0.5
        assert throttle.delay(100_000) == pytest.approx(0.1)
        throttle.set_rate(None)
        assert throttle.delay(10**9) == 0

    def test_a_pause_saves_up_only_a_moment(self, clock: Clock) -> None:
        throttle = Throttle(1_000_000, clock)
        clock.now += 3600
        assert throttle.delay(250_000) == 0
        assert throttle.delay(1_000_000) == pytest.approx(1.0)

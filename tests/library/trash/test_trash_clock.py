"""The trash's clock: no jump of the wall clock empties the trash, and time without a daemon counts up to a limit."""

import json
import shutil
from pathlib import Path

import pytest

from lmx_daemon.contract.errors import NewerStateError
from lmx_daemon.library.trash import trash as trash_module
from lmx_daemon.library.trash.trash import Trash
from lmx_daemon.library.trash.trash_clock import UNSEEN_SECONDS, ClockState, TrashClock, step
from tests.library.repositories import library_of, make_cached

DAY = 86_400.0
YEAR = 365 * DAY


class Clocks:
    """A wall clock and an uptime clock that a test sets."""

    def __init__(self) -> None:
        self.wall, self.uptime = 1e9, 100.0

    def now(self) -> float:
        return self.wall

    def up(self) -> float:
        return self.uptime

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.uptime += seconds


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


def trash_of(tmp_path: Path, clocks: Clocks) -> Trash:
    return Trash(tmp_path / "cache", tmp_path / "home" / "models", lambda: DAY, now=clocks.now, up=clocks.up)


def removed(tmp_path: Path, clocks: Clocks) -> Trash:
    """Return a trash with one model in it."""
    make_cached(tmp_path / "cache", "maker/one")
    trash = trash_of(tmp_path, clocks)
    trash.put(library_of(tmp_path).registry.catalog.locate("maker/one"))
    return trash


def run(trash: Trash, clocks: Clocks, seconds: float) -> None:
    """Run a daemon, which tidies every half hour here."""
    for _ in range(int(seconds // 1800)):
        clocks.pass_(1800)
        trash.expire()


def test_step_counts_at_most_the_uptime() -> None:
    seen = ClockState(seconds=10.0, at=1000.0)
    assert step(seen, 1060.0, 60.0) == ClockState(seconds=70.0, at=1060.0)
    assert step(seen, 1000.0 + YEAR, 60.0) == ClockState(seconds=70.0, at=1000.0 + YEAR)
    assert step(seen, 500.0, 60.0) == ClockState(seconds=10.0, at=500.0)


def test_entry_expires_under_a_running_daemon(tmp_path: Path, clocks: Clocks) -> None:
    trash = removed(tmp_path, clocks)
    run(trash, clocks, DAY - 3600)
    (row,) = trash.rows()
    assert row.purged_at - clocks.wall == pytest.approx(3600, abs=1800)
    run(trash, clocks, 2 * 3600)
    assert trash.rows() == []


@pytest.mark.parametrize("jump", [2 * DAY, 26 * YEAR, -26 * YEAR])
def test_jump_of_the_wall_clock_deletes_nothing(tmp_path: Path, clocks: Clocks, jump: float) -> None:
    trash = removed(tmp_path, clocks)
    run(trash, clocks, 3600)
    clocks.wall += jump
    run(trash, clocks, DAY - 3 * 3600)
    assert len(trash.rows()) == 1
    run(trash, clocks, 4 * 3600)
    assert trash.rows() == []


def test_start_in_1970_followed_by_ntp_deletes_nothing(tmp_path: Path, clocks: Clocks) -> None:
    """The machine starts in 1970, removes a model, and then gets the time."""
    wall, clocks.wall = clocks.wall, 1000.0
    trash = removed(tmp_path, clocks)
    trash.expire()
    clocks.wall = wall
    trash.expire()
    again = trash_of(tmp_path, clocks)
    again.expire()
    assert len(again.rows()) == 1


def test_time_without_a_daemon_counts_up_to_a_limit(tmp_path: Path, clocks: Clocks) -> None:
    removed(tmp_path, clocks)
    for _ in range(int(DAY // UNSEEN_SECONDS)):
        assert len(trash_of(tmp_path, clocks).rows()) == 1
        clocks.pass_(10 * DAY)
        trash_of(tmp_path, clocks).expire()
    clocks.pass_(10 * DAY)
    trash_of(tmp_path, clocks).expire()
    assert trash_of(tmp_path, clocks).rows() == []


def test_two_daemons_count_the_same_time_once(tmp_path: Path, clocks: Clocks) -> None:
    first = removed(tmp_path, clocks)
    second = trash_of(tmp_path, clocks)
    for _ in range(40):  # 20 hours
        clocks.pass_(900)
        first.expire()
        clocks.pass_(900)
        second.expire()
    assert len(first.rows()) == 1


def test_lost_clock_continues_from_the_newest_entry(tmp_path: Path, clocks: Clocks) -> None:
    trash = removed(tmp_path, clocks)
    run(trash, clocks, 3600)
    (tmp_path / "cache" / ".locks" / "lmx-trash" / "clock.json").write_bytes(b"\xff")
    again = trash_of(tmp_path, clocks)
    run(again, clocks, DAY - 3600)
    assert len(again.rows()) == 1
    run(again, clocks, 2 * 3600)
    assert again.rows() == []


def clock_of(tmp_path: Path) -> Path:
    return tmp_path / "cache" / ".locks" / "lmx-trash" / "clock.json"


def test_clock_of_a_former_lmx_is_continued_and_gets_a_version(tmp_path: Path, clocks: Clocks) -> None:
    trash = removed(tmp_path, clocks)
    run(trash, clocks, 3600)
    content = json.loads(clock_of(tmp_path).read_text())
    assert content.pop("version") == 1
    clock_of(tmp_path).write_text(json.dumps(content))
    again = trash_of(tmp_path, clocks)
    run(again, clocks, 1800)
    written = json.loads(clock_of(tmp_path).read_text())
    assert written["version"] == 1 and written["seconds"] > content["seconds"]


def test_clock_of_a_newer_lmx_is_refused_and_stays_and_nothing_expires(tmp_path: Path, clocks: Clocks) -> None:
    trash, file = removed(tmp_path, clocks), clock_of(tmp_path)
    file.write_text('{"version": 2, "ticks": 5}')
    make_cached(tmp_path / "cache", "maker/two")
    library = library_of(tmp_path)
    for refused in (trash.rows, trash.expire, lambda: library.remove("maker/two")):
        with pytest.raises(NewerStateError, match="version 2") as error:
            refused()
        assert error.value.hint == "upgrade lmx, or move clock.json away to begin without it"
    library.tidy()
    assert len(list(file.parent.iterdir())) == 2, "the clock and the entry, and no part of another one"
    assert library.registry.catalog.locate("maker/two").problem is None
    shutil.rmtree(next(folder for folder in file.parent.iterdir() if folder.is_dir()))
    trash.expire()  # an empty trash deletes its clock
    assert file.read_text() == '{"version": 2, "ticks": 5}'


def test_full_disk_does_not_stop_the_clock(tmp_path: Path, clocks: Clocks) -> None:
    clock = TrashClock(tmp_path / "missing" / "clock.json", clocks.now, clocks.up)
    assert clock.seconds(7.0) == 7.0


def test_the_new_name_of_a_removed_model_is_synced_before_its_old_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(trash_module, "sync_folder", synced.append)
    trash = removed(tmp_path, Clocks())
    row = trash.rows()[0]
    assert [folder.name for folder in synced] == [row.key, "cache"]

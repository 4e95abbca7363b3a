"""The limit in force: of a command, of the schedule by local time, or of the setting."""

import time

import pytest

from lmx_daemon.library.pull.rate_limit import RateLimit
from lmx_daemon.settings.schema import LibrarySettings


def local(text: str) -> time.struct_time:
    """Return a local time of a week that begins on Monday, the 4th of January 2027: "mon 08:00"."""
    day, _, clock = text.partition(" ")
    number = 4 + ("mon", "tue", "wed", "thu", "fri", "sat", "sun").index(day)
    return time.strptime(f"2027-01-{number:02d} {clock}", "%Y-%m-%d %H:%M")


class TestRateLimit:
    def test_origins_take_precedence_in_their_order(self) -> None:
        settings = [LibrarySettings(bytes_per_second=50_000, rate_schedule={"08:00-18:00": "2 MB/s"})]
        now = [local("mon 12:00")]
        limit = RateLimit(lambda: settings[0], lambda: now[0])
        assert (limit.rate(), limit.state().origin, limit.state().window) == (2_000_000, "schedule", "08:00-18:00")
        now[0] = local("mon 18:00")
        assert (limit.rate(), limit.state().origin) == (50_000, "setting")
        limit.set(None)
        assert (limit.rate(), limit.state().origin) == (None, "command")
        limit.follow_settings()
        settings[0] = LibrarySettings(rate_schedule={"00:00-24:00": "off"}, bytes_per_second=50_000)
        assert (limit.rate(), limit.state().origin) == (None, "schedule")

    def test_clock_that_jumps_back_has_effect_at_once(self) -> None:
        now = [local("tue 19:00")]
        limit = RateLimit(lambda: LibrarySettings(rate_schedule={"08:00-18:00": "1 MB/s"}), lambda: now[0])
        assert limit.rate() is None
        now[0] = local("mon 09:00")
        assert limit.rate() == 1_000_000

    @pytest.mark.parametrize(
        ("moment", "rate"),
        [
            ("fri 21:59", None), ("fri 22:00", 1_000_000), ("sat 05:59", 1_000_000), ("sat 06:00", None),
            ("sat 22:00", None), ("mon 03:00", None), ("tue 03:00", 1_000_000), ("mon 22:00", 1_000_000),
        ],
    )  # fmt: skip
    def test_entry_past_midnight_belongs_to_the_day_on_which_it_begins(self, moment: str, rate: int | None) -> None:
        settings = LibrarySettings(rate_schedule={"mon-fri 22:00-06:00": "1 MB/s"})
        assert RateLimit(lambda: settings, lambda: local(moment)).rate() == rate

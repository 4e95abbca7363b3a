"""Rates as texts, and the schedule of rates with the messages for wrong entries."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis.strategies import text

from lmx_daemon.contract.errors import ConfigError
from lmx_daemon.settings.layers import read_settings
from lmx_daemon.settings.paths import Home
from lmx_daemon.settings.values.rates import parse_schedule, rate_of


@pytest.mark.parametrize(
    ("words", "rate"),
    [("2 MB/s", 2_000_000), ("500k", 500_000), ("1.5GiB/s", 1_500_000_000), ("20000", 20_000), ("off", None)],
)
def test_rates(words: str, rate: int | None) -> None:
    assert rate_of(words) == rate


@pytest.mark.parametrize("words", ["", "fast", "-5 MB", "1e9", "1.2.3 MB", "1 kB/s", "\u0665 MB"])
def test_wrong_rates_are_refused(words: str) -> None:
    with pytest.raises(ValueError, match=r"rate|limit"):
        rate_of(words)


def test_days_are_lists_and_ranges() -> None:
    windows = parse_schedule({"sat,sun 00:00-24:00": "off", "fri-mon 8:00-9:00": "1M", "wed 23:00-01:00": "1M"})
    assert [each.days for each in windows] == [(5, 6), (0, 4, 5, 6), (2,)]


@pytest.mark.parametrize(
    ("when", "reason"),
    [
        ("always", "is not a time of the day"),
        ("25:00-26:00", "no clock shows"),
        ("08:60-09:00", "no clock shows"),
        ("08:00-08:00", "has no length"),
        ("someday 08:00-09:00", "names a day"),
        ("mon- 08:00-09:00", "names a day"),
    ],
)
def test_fault_of_an_entry_names_it_with_its_line(tmp_path: Path, when: str, reason: str) -> None:
    (tmp_path / "config.toml").write_text(f'[library]\nrate_schedule = {{ "{when}" = "1 MB/s" }}\n')
    with pytest.raises(ConfigError) as caught:
        read_settings(Home(tmp_path))
    assert reason in caught.value.message and when in caught.value.message and "line 2" in caught.value.message


@given(when=text(max_size=30), rate=text(max_size=10))
def test_any_text_is_read_or_refused(when: str, rate: str) -> None:
    try:
        parse_schedule({when: rate})
    except ValueError as error:
        assert str(error)

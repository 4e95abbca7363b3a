"""Tests of the text forms of byte counts, durations and token counts."""

import pytest

from lmx_daemon.contract import units

GB = 10**9


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, "-"),
        (0, "0 B"),
        (999, "999 B"),
        (15_000, "15 kB"),
        (8_400_000, "8.4 MB"),
        (120_400_000, "120 MB"),
        (4_600_000_000, "4.6 GB"),
        (631 * GB // 10, "63.1 GB"),
        (2_500 * GB, "2.5 TB"),
        (-5, "0 B"),
    ],
)
def test_sizes_are_in_decimal_units(count: int | None, text: str) -> None:
    assert units.size(count) == text


def test_a_part_and_its_whole_share_their_unit() -> None:
    assert units.size_of(2_800_000_000, 4_600_000_000) == "2.8/4.6 GB"
    assert units.size_of(15_000, 57_700_000) == "15 kB/57.7 MB"
    assert units.size_of(15_000, None) == "15 kB/-"


def test_durations_use_larger_units_as_they_grow() -> None:
    seconds = (3, 245, 7800, 90_000, 400 * 86_400.0, 1e12)
    assert [units.duration(s) for s in seconds] == ["3s", "4m05s", "2h10m", "25h00m", "400d", ">9999d"]


def test_timings_have_hundredths_below_ten_seconds() -> None:
    assert [units.timing(s) for s in (0.09, 9.99, 59.9, 424)] == ["0.09 s", "9.99 s", "60 s", "7m04s"]


def test_latencies_have_milliseconds_below_one_second() -> None:
    assert [units.latency(s) for s in (0.0081, 0.24, 1.239)] == ["8.1 ms", "240 ms", "1.24 s"]


def test_ages_have_one_unit() -> None:
    assert [units.age(s) for s in (1, 12, 90, 7300, 200_000)] == ["now", "12s", "1m", "2h", "2d"]


def test_ago_is_relative_to_now() -> None:
    assert (units.ago(0.0, 100.0), units.ago(0.0, 2 * 86_400.0), units.ago(50.0, 0.0)) == (
        "1m40s ago",
        "2d ago",
        "0s ago",
    )


def test_ago_in_words_has_one_unit() -> None:
    assert [units.ago_in_words(s) for s in (3, 60, 7300, 90_000, 3e5)] == [
        "just now", "1 minute ago", "2 hours ago", "1 day ago", "3 days ago",
    ]  # fmt: skip


def test_token_counts_are_in_thousands_or_in_units_of_1024() -> None:
    counts = (0, 512, 1024, 4334, 32_768, 40_960, 100_000, 131_072)
    assert [units.tokens(c) for c in counts] == ["0", "512", "1k", "4.3k", "32k", "40k", "100k", "128k"]


def test_unknown_values_are_a_dash() -> None:
    assert [units.size(None), units.duration(None), units.timing(None), units.age(None)] == ["-"] * 4
    assert [units.ago(None, 0.0), units.tokens(None)] == ["-"] * 2


@pytest.mark.parametrize("value", [1e300, 10**300, float("inf"), float("nan"), -1e300, -(10**300)])
def test_absurd_values_have_short_texts(value: float) -> None:
    assert len(units.size(value)) < 16
    if isinstance(value, int):
        assert len(units.tokens(value)) < 16
    else:
        texts = [
            units.duration(value),
            units.timing(value),
            units.age(value),
            units.ago(value, 0.0),
            units.ago(0.0, value),
        ]
        assert all(len(text) < 11 for text in texts)
        assert len(units.ago_in_words(value)) < 20

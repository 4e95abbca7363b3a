"""Parsing of the options of `lmx bench` into a plan of workloads."""

import pytest

from lmx_cli.bench.plan import WORKLOADS, counts, plan, split
from lmx_cli.bench.workloads import RequestOptions
from lmx_daemon.contract.errors import RequestError


def planned(names: list[str]) -> list[str]:
    options = RequestOptions()
    made = plan(names, options, streams=[1, 4], prompts=[64, 512], answers=[8, 128], long=[1500, 3000], every=0.05)
    return [workload.name for workload in made]


def test_the_sweep_covers_every_combination() -> None:
    assert planned(["sweep"]) == [
        "1 alone, 64 + 8",
        "4 at once, 64 + 8",
        "1 alone, 64 + 128",
        "4 at once, 64 + 128",
        "1 alone, 512 + 8",
        "4 at once, 512 + 8",
        "1 alone, 512 + 128",
        "4 at once, 512 + 128",
    ]


def test_other_workloads_use_the_highest_stream_count_and_every_long_length() -> None:
    assert planned(["arrivals", "interference", "prefix", "shared"]) == [
        "4 arrivals every 50 ms, 64 + 8",
        "1500 tokens into 4 streams",
        "3000 tokens into 4 streams",
        "prefix of 1500",
        "prefix of 3000",
        "4 at once, one prefix of 1500",
        "4 at once, one prefix of 3000",
    ]


def test_workload_names_of_a_plan_are_unique() -> None:
    names = planned(list(WORKLOADS))
    assert len(set(names)) == len(names)


def test_the_kind_of_a_workload_is_its_option_name() -> None:
    for name in WORKLOADS:
        made = plan([name], RequestOptions(), streams=[4], prompts=[64], answers=[8], long=[1500], every=0.05)
        assert [workload.kind for workload in made] == [name]


@pytest.mark.parametrize(("given", "expected"), [("1,4,16", [1, 4, 16]), (" 8 ", [8]), ("2,,3", [2, 3])])
def test_lists_of_numbers_are_parsed(given: str, expected: list[int]) -> None:
    assert counts(given, "--streams") == expected


@pytest.mark.parametrize("given", ["", ",", "0", "-1", "1.5", "four", "1;2"])
def test_invalid_lists_of_numbers_are_refused(given: str) -> None:
    with pytest.raises(RequestError, match="--streams"):
        counts(given, "--streams")


def test_workload_names_are_parsed_and_checked() -> None:
    assert split(" sweep, prefix,", "--run") == ["sweep", "prefix"]
    for wrong in ("", "sweeps", "sweep,marathon"):
        with pytest.raises(RequestError, match="--run"):
            split(wrong, "--run")

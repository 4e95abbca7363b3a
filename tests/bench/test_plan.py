"""What the options of `lmx bench` ask for. Pure."""

import pytest

from lmx_cli.bench.workloads import RequestOptions
from lmx_cli.commands.bench import WORKLOADS, counts, plan, split
from lmx_daemon.contract.errors import RequestError


def planned(names: list[str]) -> list[str]:
    options = RequestOptions()
    made = plan(names, options, streams=[1, 4], prompts=[64, 512], answers=[8, 128], long=[1500, 3000], every=0.05)
    return [workload.name for workload in made]


def test_the_sweep_is_every_combination() -> None:
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


def test_the_others_take_the_most_streams_and_every_long_length() -> None:
    assert planned(["arrivals", "interference", "prefix", "shared"]) == [
        "4 arrivals every 50 ms, 64 + 8",
        "1500 tokens into 4 streams",
        "3000 tokens into 4 streams",
        "prefix of 1500",
        "prefix of 3000",
        "4 at once, one prefix of 1500",
        "4 at once, one prefix of 3000",
    ]


def test_no_two_workloads_of_a_plan_have_one_name() -> None:
    names = planned(list(WORKLOADS))
    assert len(set(names)) == len(names)


def test_each_workload_calls_itself_as_the_option_does() -> None:
    for name in WORKLOADS:
        made = plan([name], RequestOptions(), streams=[4], prompts=[64], answers=[8], long=[1500], every=0.05)
        assert [workload.kind for workload in made] == [name]


@pytest.mark.parametrize(("given", "meant"), [("1,4,16", [1, 4, 16]), (" 8 ", [8]), ("2,,3", [2, 3])])
def test_lists_of_numbers(given: str, meant: list[int]) -> None:
    assert counts(given, "--streams") == meant


@pytest.mark.parametrize("given", ["", ",", "0", "-1", "1.5", "four", "1;2"])
def test_what_is_no_list_of_numbers(given: str) -> None:
    with pytest.raises(RequestError, match="--streams"):
        counts(given, "--streams")


def test_names_of_workloads() -> None:
    assert split(" sweep, prefix,", "--run") == ["sweep", "prefix"]
    for wrong in ("", "sweeps", "sweep,marathon"):
        with pytest.raises(RequestError, match="--run"):
            split(wrong, "--run")

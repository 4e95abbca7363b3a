"""Parsing of the options of `lmx bench` into a list of workloads. Pure.

Workloads are imported on use, because every `lmx` command imports this module.
"""

from typing import TYPE_CHECKING

from lmx_daemon.contract.errors import UsageError

if TYPE_CHECKING:
    from lmx_cli.bench.workloads import RequestOptions, Workload

WORKLOADS = ("sweep", "arrivals", "interference", "prefix", "shared")


def split(text: str, option: str) -> list[str]:
    """Return the workload names of a comma-separated list. Raises UsageError for an unknown name or an empty list."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in WORKLOADS:
            raise UsageError(f"{option}: unknown workload {name!r}", hint=f"available: {', '.join(WORKLOADS)}")
    if not names:
        raise UsageError(f"{option}: name at least one workload", hint=f"available: {', '.join(WORKLOADS)}")
    return names


def counts(text: str, option: str) -> list[int]:
    """Return the numbers of a list such as "1,4,16". Raises UsageError for anything but positive integers."""
    try:
        found = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        raise UsageError(f"{option}: {text!r} is not a list of positive integers", hint=f"example: {option} 1,4,16")
    return found


def plan_from(
    workloads: str, options: "RequestOptions", streams: str, prompts: str, answers: str, long: str, every: float
) -> "list[Workload]":
    """Return the workloads that the texts of the options select. `every` is in seconds. Raises UsageError."""
    return plan(
        split(workloads, "--run"),
        options,
        streams=counts(streams, "--streams"),
        prompts=counts(prompts, "--prompt"),
        answers=counts(answers, "--answer"),
        long=counts(long, "--long"),
        every=every,
    )


def plan(
    names: list[str],
    options: "RequestOptions",
    *,
    streams: list[int],
    prompts: list[int],
    answers: list[int],
    long: list[int],
    every: float,
) -> "list[Workload]":
    """Return the workloads that the options select, in the order of `names`. `every` is in seconds."""
    from lmx_cli.bench.workloads import Interference, Prefix, Shared, Streams

    found: list[Workload] = []
    highest = max(streams)
    for name in names:
        match name:
            case "sweep":
                found += [Streams(c, p, a, options=options) for p in prompts for a in answers for c in streams]
            case "arrivals":
                found.append(Streams(highest, prompts[0], answers[0], every, options=options))
            case "interference":
                found += [Interference(length, options=options) for length in long]
            case "prefix":
                found += [Prefix(length, options=options) for length in long]
            case "shared":
                found += [
                    Shared(highest, prompts[0], answers[0], prefix_tokens=length, options=options) for length in long
                ]
    return found

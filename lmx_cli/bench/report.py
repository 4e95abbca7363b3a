"""A benchmark report as lines of text: a block for each test, a line for each server, the ratio of the first two."""

from collections.abc import Sequence

from lmx_cli.bench.figures import Metric, first_token, gap, rate, ratio
from lmx_daemon.contract.units import latency, size
from lmx_daemon.storage.benchmark import MeasuredTest, Measurement, Report, ServerResult, Spread

COLUMNS = ("tok/s", "TTFT 50", "95", "99 %", "gap 50", "95", "99 %", "longest", "failed")
FIGURES: tuple[Metric, ...] = (
    rate,
    first_token("p50"),
    first_token("p95"),
    first_token("p99"),
    gap("p50"),
    gap("p95"),
    gap("p99"),
    gap("longest"),
)
WIDTH = 8
NAMES = 8
LONGEST_NAME = 24


def lines(report: Report) -> list[str]:
    """Return the figures. They fit into 80 columns unless a server has a long name."""
    width = min(LONGEST_NAME, max(NAMES, *(len(target.name) + 2 for target in report.targets)))
    found = [f"{'':<{width}}" + "".join(column.rjust(WIDTH) for column in COLUMNS)]
    for test in report.tests:
        found.append(test.name)
        found += [_row(f"  {result.server}", width, cells(result.median, report.rounds)) for result in test.outcomes]
        if len(test.outcomes) > 1:
            found.append(_row("  ratio", width, ratios(test, report.rounds)))
        found += [f"    {error}" for error in errors(test)]
    return found


def _row(name: str, width: int, values: Sequence[str]) -> str:
    return f"{name[:width]:<{width}}" + "".join(value.rjust(WIDTH) for value in values)


def cells(measurement: Measurement, rounds: int) -> list[str]:
    tokens = "-" if measurement.rate is None else f"{measurement.rate:.1f}"
    return [
        tokens,
        *_times(measurement.first_token, rounds, longest=False),
        *_times(measurement.gap, rounds, longest=True),
        str(measurement.errors),
    ]


def _times(spread: Spread | None, rounds: int, *, longest: bool) -> list[str]:
    if spread is None:
        return ["-"] * (4 if longest else 3)
    points = [spread.p50, spread.p95, spread.p99, *([spread.longest] if longest else [])]
    if spread.count <= rounds:  # percentiles of one value per round carry no information
        return [latency(spread.p50), *["-"] * (len(points) - 1)]
    return [latency(point) for point in points]


def ratios(test: MeasuredTest, rounds: int) -> list[str]:
    """Return the ratio of the first server to the second for each figure that both rows show."""
    first, second = test.outcomes[:2]
    shown = _shown_in_both(first.median, rounds, second.median, rounds)
    return [factor(ratio(first, second, figure)) if both else "-" for both, figure in zip(shown, FIGURES, strict=True)]


def _shown_in_both(one: Measurement, its_rounds: int, other: Measurement, other_rounds: int) -> list[bool]:
    """Return, for each figure, whether the rows of both measurements show it."""
    pairs = zip(cells(one, its_rounds)[:-1], cells(other, other_rounds)[:-1], strict=True)
    return ["-" not in pair for pair in pairs]


def factor(value: float | None) -> str:
    """Return a ratio in at most 7 characters: "0.56x", "147x", ">999x". A divisor near zero has no upper bound."""
    if value is None:
        return "-"
    return f"{value:.2f}x" if value < 100 else f"{value:.0f}x" if value < 1000 else ">999x"


def errors(test: MeasuredTest) -> list[str]:
    return [f"{result.server}: {result.median.error}" for result in test.outcomes if result.median.error]


def about(report: Report) -> list[str]:
    """Return the lines that define the figures and describe the servers and the machine."""
    machine = report.machine
    rounds = f"medians of {report.rounds} rounds" if report.rounds > 1 else "one round"
    terms = "n + m: tokens of prompt and answer; TTFT: time to the first piece of text; gap: between two pieces"
    found = [f"{rounds}; {terms}"]
    if len(report.targets) > 1:
        names = [target.name for target in report.targets[:2]]
        found.append(f"ratio: {names[0]} / {names[1]}; higher is better for tok/s, lower is better for times")
    for target in report.targets:
        versions = ", ".join(f"{name} {version}" for name, version in target.versions.items())
        parts = [target.url, target.model, target.software, versions, target.backend, _memory(report, target.name)]
        found.append(f"{target.name}: " + " · ".join(part for part in parts if part))
    found.append(
        f"machine: {machine.processor}, {machine.cores} cores, {size(machine.memory)}, {machine.system},"
        f" Python {machine.python}"
    )
    return [*found, *report.notes]


def _memory(report: Report, server: str) -> str:
    observed = [
        result.median.memory
        for test in report.tests
        for result in test.outcomes
        if result.server == server and result.median.memory is not None
    ]
    return f"at most {size(max(observed))} resident" if observed else ""


def comparison(earlier: Report, later: Report) -> list[str]:
    """Return the ratios of later to earlier for every pair of test and server name that both reports have."""
    width = NAMES
    found = [f"{'':<{width}}" + "".join(column.rjust(WIDTH) for column in COLUMNS[:-1])]
    for test in later.tests:
        before = next((other for other in earlier.tests if other.name == test.name), None)
        for result in test.outcomes:
            old = _result(before, result.server)
            if before is None or old is None:
                continue
            found.append(test.name if len(test.outcomes) == 1 else f"{test.name}: {result.server}")
            found.append(_row("  before", width, cells(old.median, earlier.rounds)[:-1]))
            found.append(_row("  after", width, cells(result.median, later.rounds)[:-1]))
            shown = _shown_in_both(old.median, earlier.rounds, result.median, later.rounds)
            found.append(_row("  ratio", width, _ratios(old.median, result.median, shown)))
    return found if len(found) > 1 else []


def differences(earlier: Report, later: Report) -> list[str]:
    """Return the changes of machine, model and software between two runs, which can explain changed figures."""
    found = []
    if earlier.machine != later.machine:
        found.append(f"machine: {_machine(earlier)} -> {_machine(later)}")
    for old, new in zip(earlier.targets, later.targets, strict=False):
        if old.model != new.model:
            found.append(f"model: {old.model} -> {new.model}")
        if (old.software, old.versions) != (new.software, new.versions):
            found.append(
                f"software: {_software(old.software, old.versions)} -> {_software(new.software, new.versions)}"
            )
    return found


def _machine(report: Report) -> str:
    machine = report.machine
    return f"{machine.processor}, {machine.cores} cores, {machine.system}, Python {machine.python}"


def _software(name: str, versions: dict[str, str]) -> str:
    return ", ".join([name or "unknown", *(f"{part} {version}" for part, version in versions.items())])


def _result(test: MeasuredTest | None, server: str) -> ServerResult | None:
    return None if test is None else next((found for found in test.outcomes if found.server == server), None)


def _ratios(old: Measurement, new: Measurement, shown: Sequence[bool]) -> list[str]:
    """Return new / old for each figure; `shown` selects the figures that both rows show."""
    found = []
    for both, figure in zip(shown, FIGURES, strict=True):
        before, after = figure(old), figure(new)
        found.append(factor(after / before if both and after is not None and before else None))
    return found

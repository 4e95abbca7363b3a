"""A Report as lines of text: one block for each test, one line for each server, and the ratio of the first two."""

from collections.abc import Sequence

from lmx_cli.bench.figures import Figure, first_token, gap, rate, ratio
from lmx_daemon.storage.benchmark import MeasuredTest, Measurement, Report, ServerResult, Spread

COLUMNS = ("tok/s", "TTFT 50", "95", "99 %", "gap 50", "95", "99 %", "longest", "failed")
FIGURES: tuple[Figure, ...] = (
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
    """The whole report, in 80 columns where the servers' names are short."""
    width = min(LONGEST_NAME, max(NAMES, *(len(target.name) + 2 for target in report.targets)))
    found = [f"{'':<{width}}" + "".join(column.rjust(WIDTH) for column in COLUMNS)]
    for test in report.tests:
        found.append(test.name)
        found += [_row(f"  {outcome.server}", width, cells(outcome.median, report.rounds)) for outcome in test.outcomes]
        if len(test.outcomes) > 1:
            found.append(_row("  ratio", width, ratios(test, report.rounds)))
        found += [f"    {error}" for error in errors(test)]
    return [*found, "", *about(report)]


def _row(name: str, width: int, values: Sequence[str]) -> str:
    return f"{name[:width]:<{width}}" + "".join(value.rjust(WIDTH) for value in values)


def cells(measured: Measurement, rounds: int) -> list[str]:
    tokens = "-" if measured.rate is None else f"{measured.rate:.1f}"
    return [
        tokens,
        *_times(measured.first_token, rounds, longest=False),
        *_times(measured.gap, rounds, longest=True),
        str(measured.errors),
    ]


def _times(spread: Spread | None, rounds: int, *, longest: bool) -> list[str]:
    if spread is None:
        return ["-"] * (4 if longest else 3)
    points = [spread.p50, spread.p95, spread.p99, *([spread.longest] if longest else [])]
    if spread.count <= rounds:  # one value a round has no percentiles
        return [seconds(spread.p50), *["-"] * (len(points) - 1)]
    return [seconds(point) for point in points]


def seconds(value: float) -> str:
    """ "8.1 ms", "240 ms", "1.24 s"."""
    if value < 0.01:
        return f"{value * 1000:.1f} ms"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


def ratios(test: MeasuredTest, rounds: int) -> list[str]:
    """First server over second, figure by figure, for those that are shown."""
    first, second = test.outcomes[:2]
    told = _told(first.median, rounds, second.median, rounds)
    return [factor(ratio(first, second, figure)) if both else "-" for both, figure in zip(told, FIGURES, strict=True)]


def _told(one: Measurement, its_rounds: int, other: Measurement, other_rounds: int) -> list[bool]:
    """Of each figure, whether it is shown of both."""
    pairs = zip(cells(one, its_rounds)[:-1], cells(other, other_rounds)[:-1], strict=True)
    return ["-" not in pair for pair in pairs]


def factor(value: float | None) -> str:
    """ "0.56x", "147x"; a time that is hardly any makes it boundless."""
    if value is None:
        return "-"
    return f"{value:.2f}x" if value < 100 else f"{value:.0f}x" if value < 1000 else ">999x"


def errors(test: MeasuredTest) -> list[str]:
    return [f"{outcome.server}: {outcome.median.error}" for outcome in test.outcomes if outcome.median.error]


def about(report: Report) -> list[str]:
    """What the figures are, and where they were taken."""
    machine = report.machine
    rounds = f"medians of {report.rounds} rounds" if report.rounds > 1 else "one round"
    terms = "n + m: tokens of prompt and answer; TTFT: time to the first piece of text; gap: between two pieces"
    found = [f"{rounds}; {terms}"]
    if len(report.targets) > 1:
        names = [target.name for target in report.targets[:2]]
        found.append(f"ratio: {names[0]} / {names[1]}; in tok/s more is better, in times less")
    for target in report.targets:
        versions = ", ".join(f"{name} {version}" for name, version in target.versions.items())
        parts = [target.url, target.model, target.software, versions, target.backend, _memory(report, target.name)]
        found.append(f"{target.name}: " + " · ".join(part for part in parts if part))
    found.append(
        f"machine: {machine.processor}, {machine.cores} cores, {machine.memory / 1e9:.0f} GB, {machine.system},"
        f" Python {machine.python}"
    )
    return [*found, *report.notes]


def _memory(report: Report, server: str) -> str:
    seen = [
        outcome.median.memory
        for test in report.tests
        for outcome in test.outcomes
        if outcome.server == server and outcome.median.memory is not None
    ]
    return f"at most {max(seen) / 1e6:.0f} MB resident" if seen else ""


def comparison(earlier: Report, later: Report) -> list[str]:
    """Later over earlier for every test and server name that both have."""
    width = NAMES
    found = [f"{'':<{width}}" + "".join(column.rjust(WIDTH) for column in COLUMNS[:-1])]
    for test in later.tests:
        before = next((other for other in earlier.tests if other.name == test.name), None)
        for outcome in test.outcomes:
            old = _outcome(before, outcome.server)
            if before is None or old is None:
                continue
            found.append(test.name if len(test.outcomes) == 1 else f"{test.name}: {outcome.server}")
            found.append(_row("  before", width, cells(old.median, earlier.rounds)[:-1]))
            found.append(_row("  after", width, cells(outcome.median, later.rounds)[:-1]))
            told = _told(old.median, earlier.rounds, outcome.median, later.rounds)
            found.append(_row("  ratio", width, _over(old.median, outcome.median, told)))
    return found if len(found) > 1 else []


def differences(earlier: Report, later: Report) -> list[str]:
    """What else changed between two runs, and so may explain them."""
    found = []
    if earlier.machine != later.machine:
        found.append(f"machine: {_place(earlier)} -> {_place(later)}")
    for old, new in zip(earlier.targets, later.targets, strict=False):
        if old.model != new.model:
            found.append(f"model: {old.model} -> {new.model}")
        if (old.software, old.versions) != (new.software, new.versions):
            found.append(
                f"software: {_software(old.software, old.versions)} -> {_software(new.software, new.versions)}"
            )
    return found


def _place(report: Report) -> str:
    machine = report.machine
    return f"{machine.processor}, {machine.cores} cores, {machine.system}, Python {machine.python}"


def _software(name: str, versions: dict[str, str]) -> str:
    return ", ".join([name or "unknown", *(f"{part} {version}" for part, version in versions.items())])


def _outcome(test: MeasuredTest | None, server: str) -> ServerResult | None:
    return None if test is None else next((found for found in test.outcomes if found.server == server), None)


def _over(old: Measurement, new: Measurement, told: Sequence[bool]) -> list[str]:
    """Later over earlier, for the figures that are `told` of both."""
    found = []
    for both, figure in zip(told, FIGURES, strict=True):
        before, after = figure(old), figure(new)
        found.append(factor(after / before if both and after is not None and before else None))
    return found

"""Reports as text, as charts, and as kept files."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import msgspec
import pytest

from lmx_cli.bench import plot
from lmx_cli.bench.report import about, comparison, differences, lines
from lmx_daemon.contract.errors import NotFoundError
from lmx_daemon.storage.benchmark import (
    FORMAT,
    MIGRATIONS,
    ClientMachine,
    MeasuredTest,
    Measurement,
    Report,
    ServerResult,
    Spread,
    Target,
    find_report,
    keep_report,
    newer_reports,
    read_reports,
)

MACHINE = ClientMachine(system="Linux", processor="a processor", cores=2, memory=24_000_000_000, python="3.11.7")


def measurement(rate: float, first: float, error: str | None = None) -> Measurement:
    times = Spread(p50=first, p95=first * 2, p99=first * 3, longest=first * 4, count=16)
    return Measurement(
        requests=16, tokens=100, rate=rate, first_token=times, gap=times, errors=int(error is not None), error=error
    )


def report(identity: str = "20260101-000000-aaaa", at: float = 1.0, **rates: float) -> Report:
    outcomes = []
    for name, rate in rates.items():
        found = measurement(rate, 1 / rate, "it broke" if rate == 50 else None)
        outcomes.append(ServerResult(server=name, median=found, rounds=(found,)))
    targets = tuple(Target(name=name, url="http://x/v1", model="a/model", software=name) for name in rates)
    tests = (
        MeasuredTest(name="1 alone, 64 + 128", workload="sweep", outcomes=tuple(outcomes)),
        MeasuredTest(name="prefix of 1500: new", workload="prefix", outcomes=tuple(outcomes)),
    )
    return Report(id=identity, taken_at=at, version="1", machine=MACHINE, targets=targets, tests=tests, rounds=1)


def with_few_gaps(full: Report, position: int) -> Report:
    """Return the report with one gap per round, and so no percentiles, for the server at `position`."""
    tests = []
    for test in full.tests:
        outcomes = list(test.outcomes)
        median = outcomes[position].median
        assert median.gap is not None
        few = msgspec.structs.replace(median, gap=msgspec.structs.replace(median.gap, count=1))
        outcomes[position] = msgspec.structs.replace(outcomes[position], median=few)
        tests.append(msgspec.structs.replace(test, outcomes=tuple(outcomes)))
    return msgspec.structs.replace(full, tests=tuple(tests))


class TestLines:
    def test_one_server_has_no_ratio(self) -> None:
        text = "\n".join([*lines(report(lmx=100.0)), *about(report(lmx=100.0))])
        assert "ratio" not in text and "100.0" in text and "a processor" in text and "a/model" in text

    def test_two_servers_have_a_ratio(self) -> None:
        found = lines(report(lmx=100.0, other=50.0))
        row = next(line for line in found if line.lstrip().startswith("ratio "))
        assert row.split() == ["ratio", "2.00x", *["0.50x"] * 7]

    def test_a_ratio_is_omitted_where_the_row_has_no_figure(self) -> None:
        lonely = msgspec.structs.replace(report(lmx=100.0, other=50.0), rounds=16)
        row = next(line for line in lines(lonely) if line.lstrip().startswith("ratio "))
        assert row.split() == ["ratio", "2.00x", "0.50x", "-", "-", "0.50x", "-", "-", "-"]

    def test_a_ratio_is_omitted_where_the_second_server_has_no_figure(self) -> None:
        full = report(lmx=100.0, other=50.0)
        row = next(line for line in lines(with_few_gaps(full, 1)) if line.lstrip().startswith("ratio "))
        assert row.split() == ["ratio", "2.00x", *["0.50x"] * 4, "-", "-", "-"]

    def test_errors_are_listed(self) -> None:
        assert "    other: it broke" in lines(report(lmx=100.0, other=50.0))

    def test_columns_line_up(self) -> None:
        found = lines(report(lmx=123456.7, other=0.5))
        rows = [line for line in found if line.startswith(("  lmx", "  other"))]
        assert {len(row) for row in rows} == {len(found[0])}

    def test_extreme_ratios_do_not_run_together(self) -> None:
        found = lines(report(lmx=0.5, other=123456.7))
        row = next(line for line in found if line.lstrip().startswith("ratio "))
        assert row.split() == ["ratio", "0.00x", *[">999x"] * 7]


class TestComparison:
    def test_ratios_are_later_over_earlier(self) -> None:
        found = comparison(report(lmx=100.0), report(lmx=150.0))
        assert [line.split()[1] for line in found if line.startswith("  ratio")] == ["1.50x", "1.50x"]

    def test_a_ratio_is_omitted_where_one_run_has_no_figure(self) -> None:
        full = report(lmx=100.0)
        for earlier, later in ((full, with_few_gaps(full, 0)), (with_few_gaps(full, 0), full)):
            rows = [line.split() for line in comparison(earlier, later) if line.startswith("  ratio")]
            assert rows == [["ratio", *["1.00x"] * 5, "-", "-", "-"]] * 2

    def test_reports_without_a_common_test_have_no_comparison(self) -> None:
        assert comparison(report(lmx=100.0), report(other=100.0)) == []

    def test_differences_of_the_machine_are_listed(self) -> None:
        old = report(lmx=100.0)
        new = msgspec.structs.replace(old, machine=msgspec.structs.replace(MACHINE, cores=8))
        assert differences(old, old) == []
        assert "2 cores" in differences(old, new)[0] and "8 cores" in differences(old, new)[0]


class TestCharts:
    def test_bar_lengths_are_proportional_to_rates(self) -> None:
        found = plot.bars(report(lmx=100.0, other=25.0), width=8)
        assert [line.count("█") for line in found] == [0, 8, 2]
        assert plot.bars(report(lmx=100.0)) == []

    def test_svg_escapes_names(self) -> None:
        root = ElementTree.fromstring(plot.svg("a < b", report(**{"<&>": 100.0, "other": 50.0}).tests))
        assert "<&>" in [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
        heights = [float(bar.attrib["height"]) for bar in root.iter("{http://www.w3.org/2000/svg}rect")][2:]
        assert heights[0] == 2 * heights[1] > 0


class TestKept:
    def test_kept_reports_are_read_in_order_of_time(self, tmp_path: Path) -> None:
        folder = tmp_path / "benchmarks"
        later, earlier = report("b", 2.0, lmx=1.0), report("a", 1.0, lmx=1.0)
        for found in (later, earlier):
            keep_report(folder, found)
        assert read_reports(folder) == [earlier, later]
        assert {path.name for path in folder.iterdir()} == {"a.json", "b.json"}

    def test_foreign_and_broken_files_are_ignored(self, tmp_path: Path) -> None:
        keep_report(tmp_path, report("a", lmx=1.0))
        (tmp_path / "half.json").write_text('{"id": "half", "taken')
        (tmp_path / "list.json").write_text("[]")
        assert [found.id for found in read_reports(tmp_path)] == ["a"]
        assert read_reports(tmp_path / "nowhere") == []

    def test_report_of_a_newer_version_is_named_and_stays(self, tmp_path: Path) -> None:
        path = keep_report(tmp_path, msgspec.structs.replace(report("new", lmx=1.0), format=99))
        content = path.read_bytes()
        assert read_reports(tmp_path) == []
        (error,) = newer_reports(tmp_path)
        assert "has version 99" in error.message and error.hint is not None and "upgrade lmx" in error.hint
        assert path.read_bytes() == content and len(list(tmp_path.iterdir())) == 1

    def test_report_without_a_format_is_of_the_first_one(self, tmp_path: Path) -> None:
        path = keep_report(tmp_path, report("a", lmx=1.0))
        fields = json.loads(path.read_text())
        assert fields.pop("format") == FORMAT
        path.write_text(json.dumps(fields))
        assert read_reports(tmp_path) == [report("a", lmx=1.0)]

    def test_format_is_the_number_of_migrations_and_1(self) -> None:
        assert len(MIGRATIONS) + 1 == FORMAT

    def test_reports_are_found_by_id_prefix_or_last(self, tmp_path: Path) -> None:
        kept = [report("2026-a", lmx=1.0), report("2026-b", lmx=1.0), report("2026-ab", lmx=1.0)]
        assert find_report(kept, "last").id == "2026-ab"
        assert find_report(kept, "2026-b").id == "2026-b"
        assert find_report(kept, "2026-a").id == "2026-a"
        for wrong in ("2026", "1999"):
            with pytest.raises(NotFoundError):
                find_report(kept, wrong)
        with pytest.raises(NotFoundError):
            find_report([], "last")

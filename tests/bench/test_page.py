"""Rendering of docs/benchmark.md from parts with known figures."""

from pathlib import Path

import msgspec

from lmx_cli.bench.figures import median_of
from lmx_daemon.storage.benchmark import ClientMachine, MeasuredTest, Measurement, Report, ServerResult, Spread, Target
from scripts.bench_page import BenchmarkPart, keep, table, write

MACHINE = ClientMachine(system="Linux", processor="a processor", cores=2, memory=24_000_000_000, python="3.11.7")


def result(server: str, *rates: float, errors: int = 0) -> ServerResult:
    rounds = tuple(
        Measurement(
            requests=4,
            errors=errors,
            rate=rate,
            first_token=Spread(p50=1 / rate, p95=1 / rate, p99=1 / rate, longest=2 / rate, count=4),
        )
        for rate in rates
    )
    return ServerResult(server=server, median=median_of(rounds), rounds=rounds)


def part(*tests: MeasuredTest) -> BenchmarkPart:
    targets = (Target(name="lmx", url="http://x/v1", model="m", software="lmx 1", backend="cpu, OpenBLAS"),)
    report = Report(id="a", taken_at=0, version="1", machine=MACHINE, targets=targets, tests=tests, rounds=2)
    return BenchmarkPart(report=report)


SWEEP = MeasuredTest(
    name="4 at once, 64 + 128",
    workload="sweep",
    outcomes=(
        result("lmx", 300, 100),
        result("mlx_lm.server", 90, 60),
        result("mlx_vlm.server", 150, 100, errors=1),
    ),
)
ARRIVALS = MeasuredTest(
    name="4 arrivals",
    workload="arrivals",
    outcomes=(result("lmx", 100), result("mlx_lm.server", 50), result("mlx_vlm.server", 20)),
)


def test_ratio_compares_lmx_with_the_best_other_server_round_by_round() -> None:
    (row,) = table({"throughput": part(SWEEP)})[2:]
    assert row == "| tok/s, 4 at once, 64 + 128, tiny | 200 | 75 | 125 (2 failed) | - | 1.50 |"


def test_the_best_time_is_the_lowest() -> None:
    first, longest = table({"mixed": part(ARRIVALS)})[2:]
    assert first.endswith("| 10 ms | 20 ms | 50 ms | - | 0.50 |")
    assert longest.endswith("| 20 ms | 40 ms | 100 ms | - | 0.50 |")


def test_missing_parts_and_servers_leave_no_figures() -> None:
    assert len(table({})) == 2
    alone = MeasuredTest(name="1 alone", workload="sweep", outcomes=(result("lmx", 100),))
    assert table({"throughput": part(alone)})[2] == "| tok/s, 1 alone, tiny | 100 | - | - | - | - |"


def test_the_page_has_machine_versions_and_dates(tmp_path: Path) -> None:
    kept, docs = tmp_path / "kept", tmp_path / "docs"
    docs.mkdir()
    keep(kept, "throughput", part(SWEEP))
    keep(kept, "start", BenchmarkPart(figures={"lmx ps": 0.1}))
    write(kept, docs)
    page = (docs / "benchmark.md").read_text()
    for expected in ("part `throughput`", "lmx 1", "OpenBLAS", "| lmx ps | 100 ms |", "pictures/benchmark.svg"):
        assert expected in page
    assert (docs / "pictures" / "benchmark.svg").exists()
    assert "other programs" not in page


def test_a_busy_machine_is_reported(tmp_path: Path) -> None:
    keep(tmp_path, "throughput", msgspec.structs.replace(part(SWEEP), busy=0.75))
    write(tmp_path, tmp_path)
    assert "other programs used 75% of the processor" in (tmp_path / "benchmark.md").read_text()

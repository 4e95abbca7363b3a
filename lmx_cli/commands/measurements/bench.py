"""`lmx bench`: benchmark of an OpenAI-compatible server, or of two in turn, and the commands for kept results."""

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmx_cli.bench.plan import WORKLOADS, plan_from
from lmx_cli.output import ExitCode, Output
from lmx_daemon.contract.errors import LmxError, NotFoundError, RequestError, UsageError

if TYPE_CHECKING:
    from lmx_cli.bench.server import ServerUnderTest
    from lmx_cli.bench.workloads import RequestOptions, Workload
    from lmx_daemon.storage.benchmark import Report

NUMBERS = "NUMBER,..."
USUAL = "sweep,arrivals,interference,prefix"
JSON = typer.Option(False, "--json", help="Print JSON.")
VS = typer.Option(None, metavar="URL", help="Base URL of a second server, measured in turn with the first.")
STREAMS = typer.Option(
    "1,4,16", metavar=NUMBERS, help="Numbers of streams in the sweep. Other workloads use the highest."
)
Chart = Annotated[Path | None, typer.Option(metavar="FILE", help="Write a chart of the sweep to this SVG file.")]


def add(app: typer.Typer, output: Output) -> None:
    group = typer.Typer(invoke_without_command=True, rich_markup_mode=None)
    _add_measuring(group, output)
    _add_kept(group, output)
    app.add_typer(group, name="bench")


def _add_measuring(group: typer.Typer, output: Output) -> None:
    @group.callback()
    def bench(
        context: typer.Context,
        url: str | None = typer.Option(None, help="Base URL of the server. Default: the local daemon."),
        model: str | None = typer.Option(None, "--model", "-m", help="Model. Default: the loaded one, else lmx/guide."),
        api_key: str | None = typer.Option(None, help="API key of the server."),
        vs: str | None = VS,
        vs_model: str | None = typer.Option(None, help="Model on the second server. Default: the same one."),
        vs_api_key: str | None = typer.Option(None, help="API key of the second server."),
        workloads: str = typer.Option(USUAL, "--run", "-r", help=f"Workloads to run, any of: {', '.join(WORKLOADS)}."),
        streams: str = STREAMS,
        prompt: str = typer.Option("64", metavar=NUMBERS, help="Prompt lengths in the sweep, in tokens."),
        answer: str = typer.Option("128", metavar=NUMBERS, help="Answer lengths in the sweep, in tokens."),
        long: str = typer.Option("1500", metavar=NUMBERS, help="Lengths of long prompts and prefixes, in tokens."),
        every: float = typer.Option(50.0, min=1, help="Milliseconds between arrivals."),
        rounds: int = typer.Option(3, min=1, max=100, help="Measured rounds. A warm-up precedes them."),
        temperature: float = typer.Option(0.0, min=0, max=2, help="Sampling temperature. 0 is greedy."),
        seeds: bool = typer.Option(False, "--seeds", help="Send a seed with each request."),
        seed: int | None = typer.Option(None, min=0, help="Seed of the prompts. Default: a new one for each run."),
        timeout: float = typer.Option(600.0, min=1, help="Maximum seconds for one response."),
        svg: Chart = None,
        keep: bool = typer.Option(True, "--keep/--no-keep", help="Keep the result for `list` and `compare`."),
        plot: bool = typer.Option(False, "--plot", help="Draw tokens per second as bars below the table."),
        json: bool = JSON,
    ) -> int | None:
        """Measure throughput and latency of a server. With --vs, measure two servers in turn."""
        if context.invoked_subcommand is not None:
            return None
        from lmx_cli.bench.workloads import RequestOptions

        seed = seed if seed is not None else time.time_ns() % 2**31
        options = RequestOptions(seed=seed, temperature=temperature, send_seeds=seeds, timeout=timeout)
        planned = plan_from(workloads, options, streams, prompt, answer, long, every / 1000)
        chosen = _ServerOptions(url, model, api_key, vs, vs_model, vs_api_key)
        report = asyncio.run(_measure(output, chosen, planned, options, rounds))
        return _show(output, report, json=json, keep=keep, svg=svg, plot=plot)


def _add_kept(group: typer.Typer, output: Output) -> None:
    @group.command("list")
    def list_kept(json: bool = JSON) -> int:
        """List the kept results."""
        return _list(output, json)

    @group.command()
    def compare(
        earlier: str | None = typer.Argument(
            None, help="Id of a result or a prefix of it. Default: the one before LATER."
        ),
        later: str = typer.Argument("last", help="Id of a result, a prefix of it, or last."),
        json: bool = JSON,
    ) -> int:
        """Compare two kept results."""
        return _compare(output, earlier, later, json)

    @group.command()
    def show(
        name: str = typer.Argument("last", help="Id of a result, a prefix of it, or last."),
        plot: bool = typer.Option(False, "--plot", help="Draw tokens per second as bars below the table."),
        json: bool = JSON,
    ) -> int:
        """Show a kept result."""
        from lmx_daemon.storage.benchmark import find_report

        return _show(output, find_report(_kept(), name), json=json, plot=plot)


class _ServerOptions:
    """Command-line options for the first and the second server."""

    def __init__(
        self,
        url: str | None,
        model: str | None,
        key: str | None,
        vs: str | None,
        vs_model: str | None,
        vs_key: str | None,
    ) -> None:
        self.url, self.model, self.key = url, model, key
        self.vs, self.vs_model, self.vs_key = vs, vs_model, vs_key
        if vs is None and (vs_model or vs_key):
            raise UsageError("--vs-model and --vs-api-key require --vs", hint="add the second server: --vs URL")


async def _measure(
    output: Output, chosen: _ServerOptions, workloads: "list[Workload]", options: "RequestOptions", rounds: int
) -> "Report":
    from lmx_cli.bench.run import run
    from lmx_cli.bench.server import ServerUnderTest

    first = ServerUnderTest("server", chosen.url, chosen.model, key=chosen.key) if chosen.url else await _own(chosen)
    servers = [first]
    if chosen.vs is not None:
        model = chosen.vs_model or chosen.model or (None if chosen.url else first.model)
        servers = [first, ServerUnderTest("other", chosen.vs, model, key=chosen.vs_key)]
    try:
        return await run(servers, workloads, rounds=rounds, options=options, progress=output.progress)
    finally:
        output.progress("")


async def _own(chosen: _ServerOptions) -> "ServerUnderTest":
    """Return the local daemon as a server under test, and start it if necessary."""
    from lmx_cli.bench.own import own_server
    from lmx_daemon.settings.paths import Home

    return await own_server(Home.from_environment(), chosen.model, chosen.key)


def _show(
    output: Output, report: "Report", *, json: bool, plot: bool, keep: bool = False, svg: Path | None = None
) -> int:
    from lmx_cli.bench import plot as pictures
    from lmx_cli.bench.report import about, lines
    from lmx_daemon.storage.failed_write import remedy

    if keep:
        _keep(output, report)
    if svg is not None:
        try:
            svg.write_text(pictures.svg("tokens per second", pictures.rated(report.tests)))
        except OSError as error:
            raise LmxError(
                f"cannot write {svg}: {error.strerror or error}", hint=remedy(svg.absolute(), error)
            ) from error
    if json:
        output.json(report)
    else:
        output.text(*lines(report), "")
        for line in about(report):
            output.paragraph(line)
        if plot:
            output.text("", *pictures.bars(report))
    nothing_worked = all(o.median.errors == o.median.requests for test in report.tests for o in test.outcomes)
    return ExitCode.ERROR if nothing_worked else ExitCode.OK


def _keep(output: Output, report: "Report") -> None:
    from lmx_daemon.settings.paths import Home
    from lmx_daemon.storage.benchmark import keep_report

    home = Home.from_environment()
    home.make()
    try:
        keep_report(home.benchmarks, report)
    except OSError as error:  # a result that cannot be kept is still shown
        output.note(f"the result cannot be kept in {home.benchmarks}: {error.strerror or error}")
    else:
        output.note(f"kept as {report.id}; see: lmx bench list")


def _kept() -> "list[Report]":
    from lmx_daemon.settings.paths import Home
    from lmx_daemon.storage.benchmark import read_reports

    return read_reports(Home.from_environment().benchmarks)


def _note_newer(output: Output) -> None:
    """Name the kept results that a newer lmx has written, which this one does not read."""
    from lmx_daemon.settings.paths import Home
    from lmx_daemon.storage.benchmark import newer_reports

    for error in newer_reports(Home.from_environment().benchmarks):
        output.note(f"{error.message}; {error.hint}")


def _list(output: Output, json: bool) -> int:
    reports = _kept()
    _note_newer(output)
    if json:
        output.json(reports)
        return ExitCode.OK
    if not reports:
        output.note("no results are kept yet; run: lmx bench")
        return ExitCode.OK
    output.table(
        ("ID", "WHEN", "MODEL", "SERVERS", "TESTS", "BEST TOK/S"),
        [
            (
                report.id,
                time.strftime("%Y-%m-%d %H:%M", time.localtime(report.taken_at)),
                ", ".join(dict.fromkeys(target.model for target in report.targets)),
                ", ".join(target.software or target.url for target in report.targets),
                str(len(report.tests)),
                f"{best_rate(report):.1f}",
            )
            for report in reports
        ],
        right=("TESTS", "BEST TOK/S"),
        spare=("TESTS", "WHEN"),
        elide=("MODEL", "SERVERS"),
    )
    return ExitCode.OK


def best_rate(report: "Report") -> float:
    """Return the highest rate of the first server."""
    return max((o.median.rate or 0.0 for test in report.tests for o in test.outcomes[:1]), default=0.0)


def _compare(output: Output, earlier: str | None, later: str, json: bool) -> int:
    from lmx_cli.bench.report import comparison, differences
    from lmx_daemon.storage.benchmark import find_report

    reports = _kept()
    new = find_report(reports, later)
    if earlier is None:
        before = [report for report in reports if report.taken_at < new.taken_at]
        if not before:
            raise NotFoundError("there is no earlier result to compare with", hint="run: lmx bench")
        old = before[-1]
    else:
        old = find_report(reports, earlier)
    if json:
        output.json({"earlier": old, "later": new})
        return ExitCode.OK
    found = comparison(old, new)
    if not found:
        raise RequestError(f"the results {old.id} and {new.id} have no test in common", hint="see: lmx bench list")
    for line in [f"before: {old.id}, after: {new.id}", *differences(old, new)]:
        output.paragraph(line)
    output.text(*found)
    return ExitCode.OK

"""`lmx bench`: measures an OpenAI-compatible server, beside another one with --vs; `list` and `compare` kept runs."""

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmx_cli.output import ExitCode, Output
from lmx_daemon.contract.errors import LmxError, NotFoundError, RequestError

if TYPE_CHECKING:
    from lmx_cli.bench.server import ServerUnderTest
    from lmx_cli.bench.workloads import RequestOptions, Workload
    from lmx_daemon.storage.benchmark import Report

WORKLOADS = ("sweep", "arrivals", "interference", "prefix", "shared")
USUAL = "sweep,arrivals,interference,prefix"
JSON = typer.Option(False, "--json", help="As JSON.")


def add(app: typer.Typer, output: Output) -> None:
    group = typer.Typer(invoke_without_command=True, rich_markup_mode=None)
    _add_measuring(group, output)
    _add_kept(group, output)
    app.add_typer(group, name="bench")


def _add_measuring(group: typer.Typer, output: Output) -> None:  # long by its many options alone
    @group.callback()
    def bench(
        context: typer.Context,
        url: str | None = typer.Option(None, help="The server's base URL; lmx's own if not given."),
        model: str | None = typer.Option(None, "--model", "-m", help="The loaded one, else lmx/guide, if not given."),
        api_key: str | None = typer.Option(None, help="The server's API key."),
        vs: str | None = typer.Option(None, help="A second server's base URL, measured in turn with the first."),
        vs_model: str | None = typer.Option(None, help="Its model; the first server's if not given."),
        vs_api_key: str | None = typer.Option(None, help="Its API key."),
        workloads: str = typer.Option(USUAL, "--run", "-r", help=f"Which of {', '.join(WORKLOADS)}."),
        streams: str = typer.Option("1,4,16", help="Of the sweep; the other workloads take the most."),
        prompt: str = typer.Option("64", help="Prompt lengths of the sweep, in tokens."),
        answer: str = typer.Option("128", help="TimedResponse lengths of the sweep, in tokens."),
        long: str = typer.Option("1500", help="Lengths of the long prompts and prefixes."),
        every: float = typer.Option(50.0, min=1, help="Milliseconds between arrivals."),
        rounds: int = typer.Option(3, min=1, max=100, help="Rounds that count; one more comes before them."),
        temperature: float = typer.Option(0.0, min=0, max=2, help="0 always takes the likeliest token."),
        seeds: bool = typer.Option(False, "--seeds", help="Send a seed with each request."),
        seed: int | None = typer.Option(None, min=0, help="The same seed makes the same prompts; else new ones."),
        timeout: float = typer.Option(600.0, min=1, help="Seconds that one answer may take."),
        svg: Annotated[Path | None, typer.Option(help="Write the sweep's picture there.")] = None,
        keep: bool = typer.Option(True, "--keep/--no-keep", help="Keep the result for list and compare."),
        plot: bool = typer.Option(False, "--plot", help="Bars of tokens a second below the table."),
        json: bool = JSON,
    ) -> int | None:
        """Measure speed and waiting times of a server. Under several kinds of load."""
        if context.invoked_subcommand is not None:
            return None
        from lmx_cli.bench.workloads import RequestOptions

        load = RequestOptions(
            seed=seed if seed is not None else time.time_ns() % 2**31,
            temperature=temperature,
            seeded=seeds,
            seconds=timeout,
        )
        planned = plan(
            split(workloads, "--run"),
            load,
            streams=counts(streams, "--streams"),
            prompts=counts(prompt, "--prompt"),
            answers=counts(answer, "--answer"),
            long=counts(long, "--long"),
            every=every / 1000,
        )
        asked = _Asked(url, model, api_key, vs, vs_model, vs_api_key)
        report = asyncio.run(_measure(output, asked, planned, load, rounds))
        return _show(output, report, json=json, keep=keep, svg=svg, plot=plot)


def _add_kept(group: typer.Typer, output: Output) -> None:
    @group.command("list")
    def list_kept(json: bool = JSON) -> int:
        """List the kept runs."""
        return _list(output, json)

    @group.command()
    def compare(
        earlier: str | None = typer.Argument(None, help="An id, or its beginning; the last but one if not given."),
        later: str = typer.Argument("last", help="An id, or its beginning."),
        json: bool = JSON,
    ) -> int:
        """Put two kept runs side by side."""
        return _compare(output, earlier, later, json)

    @group.command()
    def show(
        name: str = typer.Argument("last", help="An id, or its beginning."),
        plot: bool = typer.Option(False, "--plot", help="Bars of tokens a second below the table."),
        json: bool = JSON,
    ) -> int:
        """Show a kept run."""
        from lmx_daemon.storage.benchmark import find_report

        return _show(output, find_report(_kept(), name), json=json, plot=plot)


class _Asked:
    """Which servers the options name."""

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
            raise RequestError("--vs-model and --vs-api-key need --vs", hint="name the second server: --vs URL")


def split(text: str, option: str) -> list[str]:
    """The names that `--run` gives. Raises RequestError."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in WORKLOADS:
            raise RequestError(f"{option}: there is no workload {name!r}", hint=f"there are: {', '.join(WORKLOADS)}")
    if not names:
        raise RequestError(f"{option}: name at least one workload", hint=f"there are: {', '.join(WORKLOADS)}")
    return names


def counts(text: str, option: str) -> list[int]:
    """ "1,4,16" as numbers. Raises RequestError."""
    try:
        found = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        raise RequestError(f"{option}: {text!r} is no list of numbers above 0", hint=f"for example: {option} 1,4,16")
    return found


def plan(
    names: list[str],
    load: "RequestOptions",
    *,
    streams: list[int],
    prompts: list[int],
    answers: list[int],
    long: list[int],
    every: float,
) -> "list[Workload]":
    from lmx_cli.bench.workloads import Interference, Prefix, Shared, Streams

    found: list[Workload] = []
    most = max(streams)
    for name in names:
        match name:
            case "sweep":
                found += [Streams(c, p, a, load=load) for p in prompts for a in answers for c in streams]
            case "arrivals":
                found.append(Streams(most, prompts[0], answers[0], every, load=load))
            case "interference":
                found += [Interference(length, load=load) for length in long]
            case "prefix":
                found += [Prefix(length, load=load) for length in long]
            case "shared":
                found += [Shared(most, prompts[0], answers[0], prefix_tokens=length, load=load) for length in long]
    return found


async def _measure(
    output: Output, asked: _Asked, workloads: "list[Workload]", load: "RequestOptions", rounds: int
) -> "Report":
    from lmx_cli.bench.run import run
    from lmx_cli.bench.server import ServerUnderTest

    first = ServerUnderTest("server", asked.url, asked.model, key=asked.key) if asked.url else await _own(asked)
    servers = [first]
    if asked.vs is not None:
        model = asked.vs_model or asked.model or (None if asked.url else first.model)
        servers = [first, ServerUnderTest("other", asked.vs, model, key=asked.vs_key)]
    try:
        return await run(servers, workloads, rounds=rounds, load=load, progress=output.progress)
    finally:
        output.progress("")


async def _own(asked: _Asked) -> "ServerUnderTest":
    """lmx's own daemon, which is started if there is none."""
    import os

    from lmx_cli.bench.own import own_server
    from lmx_daemon.settings.paths import Home
    from lmx_daemon.settings.reading import read_settings

    home = Home.from_environment()
    key = asked.key or os.environ.get("LMX_API_KEY") or read_settings(home).server.api_key
    return await own_server(home, asked.model, key)


def _show(
    output: Output, report: "Report", *, json: bool, plot: bool, keep: bool = False, svg: Path | None = None
) -> int:
    from lmx_cli.bench import plot as pictures
    from lmx_cli.bench.report import lines

    if keep:
        _keep(output, report)
    if svg is not None:
        try:
            svg.write_text(pictures.svg("tokens a second", pictures.rated(report.tests)))
        except OSError as error:
            raise LmxError(f"cannot write {svg}: {error.strerror or error}") from error
    if json:
        output.json(report)
    else:
        for line in [*lines(report), *(["", *pictures.bars(report)] if plot else [])]:
            output.text(line)
    nothing_worked = all(o.median.errors == o.median.requests for test in report.tests for o in test.outcomes)
    return ExitCode.ERROR if nothing_worked else ExitCode.OK


def _keep(output: Output, report: "Report") -> None:
    from lmx_daemon.settings.paths import Home
    from lmx_daemon.storage.benchmark import keep_report

    home = Home.from_environment()
    home.make()
    try:
        keep_report(home.benchmarks, report)
    except OSError as error:  # the figures are worth showing all the same
        output.note(f"the result could not be kept in {home.benchmarks}: {error.strerror or error}")
    else:
        output.note(f"kept as {report.id}; see: lmx bench list")


def _kept() -> "list[Report]":
    from lmx_daemon.settings.paths import Home
    from lmx_daemon.storage.benchmark import read_reports

    return read_reports(Home.from_environment().benchmarks)


def _list(output: Output, json: bool) -> int:
    reports = _kept()
    if json:
        output.json(reports)
        return ExitCode.OK
    if not reports:
        output.note("no benchmark is kept yet; make one with: lmx bench")
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
    """The first server's highest rate."""
    return max((o.median.rate or 0.0 for test in report.tests for o in test.outcomes[:1]), default=0.0)


def _compare(output: Output, earlier: str | None, later: str, json: bool) -> int:
    from lmx_cli.bench.report import comparison, differences
    from lmx_daemon.storage.benchmark import find_report

    reports = _kept()
    new = find_report(reports, later)
    if earlier is None:
        before = [report for report in reports if report.taken_at < new.taken_at]
        if not before:
            raise NotFoundError("there is no earlier benchmark to compare with", hint="make one with: lmx bench")
        old = before[-1]
    else:
        old = find_report(reports, earlier)
    if json:
        output.json({"earlier": old, "later": new})
        return ExitCode.OK
    found = comparison(old, new)
    if not found:
        raise RequestError(f"{old.id} and {new.id} have no test in common", hint="see: lmx bench list")
    for line in [f"before: {old.id}, after: {new.id}", *differences(old, new), *found]:
        output.text(line)
    return ExitCode.OK

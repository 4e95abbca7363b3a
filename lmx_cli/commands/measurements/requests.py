"""`lmx requests`: the requests under way, the records of those that have ended, and totals over the records."""

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lmx_cli.commands.options import JSON, YES
from lmx_cli.output import ExitCode, Output
from lmx_daemon.contract.units import duration, latency, tokens

if TYPE_CHECKING:
    from lmx_daemon.client.client import Client
    from lmx_daemon.contract.admin.history import RequestRecord, RequestTotals
    from lmx_daemon.contract.admin.snapshot import RequestRow

ID = typer.Argument(help="Id of a request, or its beginning. An answer has it in the header x-request-id.")
MODEL = typer.Option("", "--model", metavar="MODEL", help="Only requests for this model.")
KEY = typer.Option(
    "", "--key", metavar="KEY", help="Only requests with this API key. For requests without a key: http, cli or tui."
)
DAYS = typer.Option(None, "--days", min=0.0, help="Only requests of this number of days.")
Groups = Literal["model", "key", "day"]
Outcomes = Literal["finished", "failed", "cancelled"]


def add(app: typer.Typer, output: Output) -> None:
    group = typer.Typer(help="Show, export or delete the records of requests.")
    app.add_typer(group, name="requests")
    _add_list(group, output)
    _add_record(group, output)
    _add_records(group, output)


def _add_list(group: typer.Typer, output: Output) -> None:
    @group.callback(invoke_without_command=True)
    def requests(
        context: typer.Context,
        live: bool = typer.Option(False, "--live", help="List the requests under way instead."),
        limit: int = typer.Option(20, "--limit", "-n", min=1, max=10_000, help="Number of requests."),
        model: str = MODEL,
        outcome: Annotated[Outcomes | None, typer.Option("--outcome", help="Only requests with this outcome.")] = None,
        key: str = KEY,
        days: float | None = DAYS,
        json: bool = JSON,
    ) -> int:
        """List the last requests, the newest at the end."""
        if context.invoked_subcommand:
            return ExitCode.OK
        if live:
            return asyncio.run(_live(output, json))
        return asyncio.run(_list(output, limit, model, outcome or "", key, days, json))


def _add_record(group: typer.Typer, output: Output) -> None:
    """Add the commands for one record."""

    @group.command()
    def show(request: str = ID, json: bool = JSON) -> int:
        """Show the record of a request: times, tokens, cache, outcome."""
        return asyncio.run(_show(output, request, json))

    @group.command()
    def replay(
        request: str = ID,
        model: str = typer.Option("", "--model", metavar="MODEL", help="Model that answers. Default: the same one."),
    ) -> int:
        """Send a request again, to the same model or another one, and print its answer.

        Its text is kept only if the request failed while `[history] failed_requests` was true.
        """
        return asyncio.run(_replay(output, request, model))

    @group.command()
    def export(request: str = ID) -> int:
        """Print a request as Markdown for a bug report.

        The text of the request is included only if the request failed while `[history] failed_requests` was true.
        """
        return asyncio.run(_export(output, request))


def _add_records(group: typer.Typer, output: Output) -> None:
    """Add the commands for all records."""

    @group.command()
    def totals(
        by: Annotated[Groups, typer.Option("--by", help="Group of each total.")] = "model",
        model: str = MODEL,
        key: str = KEY,
        days: float | None = DAYS,
        json: bool = JSON,
    ) -> int:
        """Show the number of requests and tokens of each model, key or day. Only kept records count."""
        return asyncio.run(_totals(output, by, model, key, days, json))

    @group.command()
    def clear(yes: bool = YES, json: bool = JSON) -> int:
        """Delete the records of all requests that have ended."""
        return asyncio.run(_clear(output, yes, json))


def _client() -> "Client":
    from lmx_daemon.client.client import Client
    from lmx_daemon.settings.paths import Home

    return Client.of(Home.from_environment())


async def _list(output: Output, limit: int, model: str, outcome: str, key: str, days: float | None, json: bool) -> int:
    async with _client() as client:
        found = await client.history(limit=limit, model=model, outcome=outcome, key=key, days=days)
    if json:
        output.json(found)
    elif found:
        now = time.time()
        output.table(
            ("ID", "AGO", "MODEL", "CLIENT", "OUTCOME", "PROMPT", "CACHED", "OUT", "FIRST", "TOTAL", "TOK/S"),
            [_row(record, now) for record in found],
            right=("AGO", "PROMPT", "CACHED", "OUT", "FIRST", "TOTAL", "TOK/S"),
            spare=("CLIENT", "CACHED", "FIRST", "TOK/S", "PROMPT", "TOTAL"),
            elide=("ID", "MODEL", "CLIENT"),
        )
    else:
        output.note("there is no such request")
    return ExitCode.OK


def _row(record: "RequestRecord", now: float) -> tuple[str, ...]:
    return (
        record.id,
        duration(now - record.at),
        record.served_by or record.model,
        record.client or record.tenant,
        record.error or record.outcome,
        tokens(record.prompt_tokens),
        tokens(record.cached_tokens),
        str(record.completion_tokens),
        "-" if record.first_token is None else latency(record.first_token),
        latency(record.total),
        f"{record.rate:.1f}" if record.rate else "-",
    )


async def _live(output: Output, json: bool) -> int:
    async with _client() as client:
        rows = await client.requests()
    if json:
        output.json(rows)
    elif rows:
        output.table(
            ("ID", "AGE", "MODEL", "CLIENT", "STATE", "PROMPT", "OUT", "TOK/S"),
            [_live_row(row) for row in rows],
            right=("AGE", "PROMPT", "OUT", "TOK/S"),
            spare=("CLIENT", "TOK/S", "PROMPT"),
            elide=("ID", "MODEL", "CLIENT"),
        )
    else:
        output.note("no request is under way")
    return ExitCode.OK


def _live_row(row: "RequestRow") -> tuple[str, ...]:
    progress = "" if row.progress is None else f" {row.progress:.0%}"
    place = f" {row.position}" if row.position is not None else ""
    return (
        row.id,
        duration(row.age),
        row.model,
        row.client or row.tenant,
        f"{row.state}{place}{progress}",
        tokens(row.prompt_tokens),
        str(row.completion_tokens),
        f"{row.rate:.1f}" if row.rate else "-",
    )


async def _show(output: Output, request: str, json: bool) -> int:
    async with _client() as client:
        record = await client.request_record(request)
    if json:
        output.json(record)
        return ExitCode.OK
    rows = [(name, value) for name, value in _details(record) if value]
    output.fields(rows)
    return ExitCode.OK


def _details(record: "RequestRecord") -> list[tuple[str, str]]:
    asked = f" (asked for as {record.model}; {record.routed})" if record.served_by not in ("", record.model) else ""
    difference = "" if record.first_difference is None else f", at token {record.first_difference}"
    prompt = (
        "" if record.prompt_tokens is None else f"{record.prompt_tokens} tokens, {record.cached_tokens or 0} cached"
    )
    load = "" if record.load is None else f" ({latency(record.load)} of it to load the model)"
    return [
        ("request", record.id),
        ("arrived", time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.at))),
        ("model", (record.served_by or record.model) + asked),
        ("route", " ".join(part for part in (record.route, record.dialect and f"({record.dialect})") if part)),
        ("client", f"{record.client} ({record.tenant})" if record.client else record.tenant),
        ("outcome", ", ".join(part for part in (record.outcome, record.finish, record.error, record.message) if part)),
        ("prompt", prompt),
        ("left out", f"{record.truncated_tokens} tokens" if record.truncated_tokens else ""),
        ("cache", record.miss + difference if record.miss else ""),
        ("answer", f"{record.completion_tokens} tokens" + (f", {record.rate:.1f} tok/s" if record.rate else "")),
        ("queue", "" if record.queue is None else latency(record.queue) + load),
        ("prefill", "" if record.prefill is None else latency(record.prefill)),
        ("first token", "" if record.first_token is None else f"after {latency(record.first_token)}"),
        ("decode", "" if record.decode is None else latency(record.decode)),
        ("total", latency(record.total)),
        ("text", "kept: lmx requests export prints it" if record.body else ""),
    ]


async def _replay(output: Output, request: str, model: str) -> int:
    from lmx_daemon.contract.errors import error_from
    from lmx_daemon.contract.generation.events import Delta, Failed
    from lmx_daemon.contract.generation.replay import replayed

    async with _client() as client:
        recorded = await client.recorded_request(request)
        name = (await client.named(model)).id if model else recorded.model
        try:
            async for event in client.generate(replayed(recorded, name, client="lmx requests", tenant="cli")):
                if isinstance(event, Delta) and event.content:
                    output.words(event.content)
                elif isinstance(event, Failed):
                    raise error_from(event.error)
        finally:
            output.end_words()
    output.text()
    return ExitCode.OK


async def _export(output: Output, request: str) -> int:
    async with _client() as client:
        output.content(await client.export_request(request))
    return ExitCode.OK


async def _totals(output: Output, by: Groups, model: str, key: str, days: float | None, json: bool) -> int:
    async with _client() as client:
        found = await client.request_totals(by, model=model, key=key, days=days)
    if json:
        output.json(found)
    elif found:
        output.table(
            (by.upper(), "REQUESTS", "FAILED", "CANCELLED", "PROMPT", "CACHED", "OUT", "TIME"),
            [_totals_row(total) for total in found],
            right=("REQUESTS", "FAILED", "CANCELLED", "PROMPT", "CACHED", "OUT", "TIME"),
            spare=("CANCELLED", "TIME", "CACHED"),
        )
    else:
        output.note("there is no record of a request")
    return ExitCode.OK


def _totals_row(total: "RequestTotals") -> tuple[str, ...]:
    return (
        total.name or "-",
        str(total.requests),
        str(total.failed),
        str(total.cancelled),
        tokens(total.prompt_tokens),
        tokens(total.cached_tokens),
        tokens(total.completion_tokens),
        duration(total.seconds),
    )


async def _clear(output: Output, yes: bool, json: bool) -> int:
    async with _client() as client:
        if not output.confirm("delete the records of all requests?", yes=yes):
            return ExitCode.ERROR
        count = await client.clear_history()
    if json:
        output.json({"deleted": count})
    else:
        output.text(f"deleted {count} records")
    return ExitCode.OK

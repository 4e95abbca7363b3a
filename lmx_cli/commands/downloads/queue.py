"""`lmx downloads`: the queue of pulls, and the commands for a pull."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from lmx_cli.commands.options import JSON, YES
from lmx_cli.connect import started
from lmx_cli.output import ExitCode, Output
from lmx_cli.text.pull_text import name_of, state_of, whole
from lmx_daemon.contract.units import duration, size

if TYPE_CHECKING:
    from lmx_daemon.client.client import Client
    from lmx_daemon.contract.admin.library.pulls import Download, LimitState

JOB = typer.Argument(help="Model or pull id, as `lmx downloads` lists them.")
VERBS = {
    "pause": "Stop a pull until it is resumed. Downloaded data is kept.",
    "resume": "Continue a paused or failed pull.",
    "retry": "Start a pull again. For a finished one, missing or wrong files are fetched.",
}
CLEARED = ("done", "failed", "cancelled")
"""States of the pulls that `clear` removes from the list."""


def add(app: typer.Typer, output: Output) -> None:
    group = typer.Typer(help="Show and change the queue of pulls.")
    app.add_typer(group, name="downloads")

    @group.callback(invoke_without_command=True)
    def downloads(context: typer.Context, json: bool = JSON) -> int:
        """List the pulls: active, queued and recently ended ones."""
        return ExitCode.OK if context.invoked_subcommand else asyncio.run(_list(output, json))

    @group.command("list")
    def list_(json: bool = JSON) -> int:
        """List the pulls, as `lmx downloads` alone does."""
        return asyncio.run(_list(output, json))

    for verb, help in VERBS.items():
        _add_verb(group, output, verb, help)
    _add_queue(group, output)


def _add_queue(group: typer.Typer, output: Output) -> None:
    """Add the commands that change the queue or its limit."""

    @group.command()
    def move(
        job: str = JOB,
        position: int = typer.Argument(1, min=1, help="New position. 1 is the next pull."),
        json: bool = JSON,
    ) -> int:
        """Move a pull to another position in the queue."""
        return asyncio.run(_move(output, job, position, json))

    @group.command()
    def cancel(job: str = JOB, yes: bool = YES, json: bool = JSON) -> int:
        """Cancel a pull and delete its downloaded data."""
        return asyncio.run(_cancel(output, job, yes, json))

    @group.command()
    def clear(yes: bool = YES, json: bool = JSON) -> int:
        """Remove ended pulls from the list. Their files stay."""
        return asyncio.run(_clear(output, yes, json))

    @group.command()
    def limit(
        rate: Annotated[
            str | None,
            typer.Argument(help="Rate, such as 20MB or 500k. off: no limit. auto: the limit of the settings."),
        ] = None,
        json: bool = JSON,
    ) -> int:
        """Show the limit on the total speed of all pulls, or set it until the daemon stops."""
        return asyncio.run(_limit(output, rate, json))


def _add_verb(group: typer.Typer, output: Output, verb: str, help: str) -> None:
    @group.command(verb, help=help)
    def act(job: str = JOB, json: bool = JSON) -> int:
        return asyncio.run(_act(output, verb, job, json))


async def _list(output: Output, json: bool) -> int:
    from lmx_daemon.client.client import Client
    from lmx_daemon.settings.paths import Home

    async with Client.of(Home.from_environment()) as client:
        jobs = await client.pulls()
        limit = await client.pull_limit()
    _show(output, jobs, json)
    if not json and (text := _limit_text(limit)):
        output.note(text)
    return ExitCode.OK


def _show(output: Output, jobs: "list[Download]", json: bool) -> None:
    if json:
        output.json([whole(job) for job in jobs])
        return
    if not jobs:
        output.note("there are no pulls; lmx pull starts one")
        return
    output.table(
        ("PULL", "MODEL", "STATE", "DONE", "OF", "RATE", "ETA", "NOTE"),
        [
            (
                job.id,
                name_of(job),
                state_of(job),
                size(job.done),
                size(job.total),
                f"{size(int(job.rate))}/s" if job.rate else "-",
                duration(job.eta),
                job.error.message if job.error else job.note or "",
            )
            for job in jobs
        ],
        right=("DONE", "OF", "RATE", "ETA"),
        spare=("RATE", "OF", "ETA", "DONE", "PULL"),
        elide=("MODEL", "NOTE"),
    )


async def _act(output: Output, verb: str, name: str, json: bool) -> int:
    async with await started() as client:
        job = await _find(client, name)
        acts = {
            "pause": client.pause_pull,
            "resume": client.resume_pull,
            "retry": client.retry_pull,
        }
        job = await acts[verb](job.id)
    _show_state(output, job, json)
    return ExitCode.OK


async def _cancel(output: Output, name: str, yes: bool, json: bool) -> int:
    async with await started() as client:
        job = await _find(client, name)
        fetched = f"delete {size(job.done)} of downloaded data" if job.done else "nothing is downloaded yet"
        if job.state not in ("done", "cancelled") and not output.confirm(f"{job.repo}: cancel it, {fetched}?", yes=yes):
            return ExitCode.ERROR
        job = await client.cancel_pull(job.id)
    _show_state(output, job, json)
    return ExitCode.OK


def _show_state(output: Output, job: "Download", json: bool) -> None:
    if json:
        output.json(whole(job))
    else:
        output.text(f"{job.repo} is {state_of(job)}")


async def _move(output: Output, name: str, position: int, json: bool) -> int:
    async with await started() as client:
        job = await _find(client, name)
        _show(output, await client.move_pull(job.id, position - 1), json)
    return ExitCode.OK


async def _clear(output: Output, yes: bool, json: bool) -> int:
    async with await started() as client:
        ended = sum(job.state in CLEARED for job in await client.pulls())
        what = "1 pull that has" if ended == 1 else f"{ended} pulls that have"
        if ended and not output.confirm(f"remove {what} ended from the list? Their files stay.", yes=yes):
            return ExitCode.ERROR
        remaining = await client.clear_pulls()
    if json or remaining:
        _show(output, remaining, json)
    return ExitCode.OK


async def _limit(output: Output, text: str | None, json: bool) -> int:
    from lmx_daemon.contract.admin.library.pulls import PullLimit
    from lmx_daemon.contract.errors import UsageError
    from lmx_daemon.settings.values.rates import rate_of

    wanted = None
    if text is not None:
        try:
            auto = text.strip().lower() == "auto"
            wanted = PullLimit(settings=auto, bytes_per_second=None if auto else rate_of(text))
        except ValueError as error:
            raise UsageError(str(error), hint="give a rate such as 20MB or 500k, off, or auto") from None
    async with await started() as client:
        state = await (client.pull_limit() if wanted is None else client.limit_pulls(wanted))
    output.json(state) if json else output.text(_limit_text(state) or "pulls have no limit")
    return ExitCode.OK


def _limit_text(state: "LimitState") -> str:
    """Return the limit in a sentence; empty where neither a command nor the schedule has set one, and none is set."""
    because = {
        "command": " until the daemon stops, or `lmx downloads limit auto`",
        "schedule": f" (library.rate_schedule: {state.window})",
        "setting": " (library.bytes_per_second)",
    }[state.origin]
    if state.bytes_per_second is not None:
        return f"pulls take at most {size(state.bytes_per_second)}/s together{because}"
    return "" if state.origin == "setting" else f"pulls have no limit{because}"


async def _find(client: "Client", name: str) -> "Download":
    """Return the pull with an id or a prefix of it, else the first of a repository. Raises JobNotFoundError."""
    from lmx_daemon.contract.errors import JobNotFoundError

    jobs = await client.pulls()
    found = [job for job in jobs if job.id == name] or [
        job for job in jobs if name in (job.repo, name_of(job)) or (len(name) >= 3 and job.id.startswith(name))
    ]
    if not found:
        raise JobNotFoundError(f"there is no pull {name!r}", hint="`lmx downloads` lists them")
    return found[0]

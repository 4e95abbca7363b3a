"""`lmx pull` and `lmx downloads`: models on their way from the Hub. The daemon fetches; this asks, shows and leaves."""

import asyncio
import os
import re
from typing import TYPE_CHECKING, Annotated

import typer

from lmx_cli.commands.models import JSON, started
from lmx_cli.output import ExitCode, Output, duration, size

if TYPE_CHECKING:
    from lmx_daemon.contract.client import Client
    from lmx_daemon.contract.types import Download, PullRequest

JOB = typer.Argument(help="A model or the id of its pull, as `lmx downloads` shows them.")
RATE = re.compile(r"([\d.]+)\s*([kmg]?)(?:i?b)?(?:/s)?", re.IGNORECASE)
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
SHOWN_LEFT_OUT = 5
Included = Annotated[
    list[str],
    typer.Option(default_factory=list, show_default=False, help="Only files like '*.json', not what a model needs."),
]
Excluded = Annotated[
    list[str], typer.Option(default_factory=list, show_default=False, help="No files like this; both are repeatable.")
]


def add(app: typer.Typer, output: Output) -> None:
    @app.command()
    def pull(
        repo: Annotated[str, typer.Argument(help="owner/name, owner/name@revision, or its address on the Hub.")],
        include: Included,
        exclude: Excluded,
        revision: str | None = typer.Option(None, help="A branch, a tag or a commit; the main branch if not given."),
        quiet: bool = typer.Option(False, "--quiet", "-q", help="Say nothing but errors."),
        detach: bool = typer.Option(False, "--detach", "-d", help="Do not wait for it."),
        json: bool = typer.Option(False, "--json", help="Progress as JSON lines."),
    ) -> int:
        """Download a model from the Hugging Face Hub. Every file is proved by its hash."""
        from lmx_daemon.contract.types import PullRequest

        asked = PullRequest(
            repo=repo,
            revision=revision,
            include=tuple(include),
            exclude=tuple(exclude),
            endpoint=os.environ.get("HF_ENDPOINT"),
            token=os.environ.get("HF_TOKEN"),
        )
        return asyncio.run(_pull(output, asked, quiet=quiet, detach=detach, json=json))

    add_downloads(app, output)


def add_downloads(app: typer.Typer, output: Output) -> None:
    group = typer.Typer(help="Show the queue of pulls. List, pause, resume, retry, cancel, move, clear, limit.")
    app.add_typer(group, name="downloads")

    @group.callback(invoke_without_command=True)
    def downloads(context: typer.Context, json: bool = JSON) -> int:
        """List the pulls: those under way, those that wait, and the last that ended."""
        return ExitCode.OK if context.invoked_subcommand else asyncio.run(_list(output, json))

    @group.command("list")
    def list_(json: bool = JSON) -> int:
        """List the pulls, as `lmx downloads` alone does."""
        return asyncio.run(_list(output, json))

    @group.command()
    def pause(job: str = JOB, json: bool = JSON) -> int:
        """Stop a pull until it is resumed; what was fetched is kept."""
        return asyncio.run(_act(output, "pause", job, json))

    @group.command()
    def resume(job: str = JOB, json: bool = JSON) -> int:
        """Go on with a pull that was paused or has failed."""
        return asyncio.run(_act(output, "resume", job, json))

    @group.command()
    def retry(job: str = JOB, json: bool = JSON) -> int:
        """Try again; also one that is done: what is missing or wrong is fetched."""
        return asyncio.run(_act(output, "retry", job, json))

    @group.command()
    def cancel(job: str = JOB, json: bool = JSON) -> int:
        """Stop a pull for good, and delete what it has fetched."""
        return asyncio.run(_act(output, "cancel", job, json))

    @group.command()
    def move(job: str = JOB, position: int = typer.Argument(1, min=1, help="1 is the next."), json: bool = JSON) -> int:
        """Put a pull to another place in the queue; to its head if no place is given."""
        return asyncio.run(_move(output, job, position, json))

    @group.command()
    def clear(json: bool = JSON) -> int:
        """Forget the pulls that have ended; their files stay."""
        return asyncio.run(_clear(output, json))

    @group.command()
    def limit(rate: str = typer.Argument(help="Bytes a second, as 20MB or 500k; `off` for no bound.")) -> int:
        """Bound the speed of all pulls together, until the daemon stops."""
        return asyncio.run(_limit(output, rate))


# ---- pull ----


async def _pull(output: Output, asked: "PullRequest", *, quiet: bool, detach: bool, json: bool) -> int:
    from lmx_daemon.contract.errors import DaemonUnreachableError

    _refuse_offline()
    async with await started() as client:
        job = await client.pull(asked)
        if detach:
            return _left(output, job, quiet, json)
        try:
            async for told in client.watch_pull(job.id):
                job = told
                if json:
                    output.json_line(_whole(job))
                elif not quiet:
                    output.progress(progress(job))
        except asyncio.CancelledError:
            asyncio.current_task().uncancel()  # type: ignore[union-attr]  # Ctrl-C: there is one last thing to do
            output.progress("")
            job = await client.pause_pull(job.id)
            output.note(f"paused at {size(job.done)}; go on with: lmx pull {_name(job)}")
            return ExitCode.INTERRUPTED
        except DaemonUnreachableError as error:
            output.progress("")
            message = "the daemon went away; it goes on with the pull when it is back"
            raise DaemonUnreachableError(message, hint=error.hint) from error
        output.progress("")
    return _ended(output, job, quiet or json)


def _refuse_offline() -> None:
    """Said by this program's own environment; the daemon has another one."""
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        from lmx_daemon.contract.errors import HubError

        raise HubError("HF_HUB_OFFLINE is set, so nothing is downloaded", hint="unset it to pull")


def _left(output: Output, job: "Download", quiet: bool, json: bool) -> int:
    if json:
        output.json(_whole(job))
    elif not quiet:
        output.text(f"{job.repo} is {_state(job)}; see: lmx downloads")
    return ExitCode.OK


def _ended(output: Output, job: "Download", quiet: bool) -> int:
    from lmx_daemon.contract.errors import error_from

    if job.state != "done":
        if job.error is not None:
            raise error_from(job.error)
        if not quiet:
            output.note(f"{job.repo} is {job.state}; go on with: lmx pull {_name(job)}")
        return ExitCode.ERROR
    if not quiet:
        before = f", {size(job.resumed)} of it from before" if job.resumed else ""
        output.text(f"{job.repo} is here: {job.files_done} files, {size(job.done)}, each proved by its hash{before}")
        if job.skipped:
            more = ", ..." if len(job.skipped) > SHOWN_LEFT_OUT else ""
            shown = ", ".join(job.skipped[:SHOWN_LEFT_OUT]) + more
            output.note(f"left out {len(job.skipped)} files that a model does not need: {shown}")
    return ExitCode.OK


def _name(job: "Download") -> str:
    """What `lmx pull` takes to find the same job again."""
    patterns = [f" --include '{p}'" for p in job.include] + [f" --exclude '{p}'" for p in job.exclude]
    return job.repo + (f"@{job.requested}" if job.requested else "") + "".join(patterns)


def progress(job: "Download") -> str:
    """One line: "downloading  43% · 1.1 GB of 2.5 GB · 84.0 MB/s · ETA 17s · 3/9 files"."""
    if job.state == "verifying" and job.to_check:
        return f"verifying {job.checked / job.to_check:4.0%} · {size(job.checked)} of {size(job.to_check)} from before"
    share = f"{job.done / job.total:4.0%}" if job.total else ""
    parts = [f"{job.state} {share}".rstrip()]
    if job.total is not None:
        parts += [f"{size(job.done)} of {size(job.total)}", f"{size(int(job.rate))}/s", f"ETA {duration(job.eta)}"]
        parts += [f"{job.files_done}/{job.files_total} files"]
    if job.position:
        parts += [f"{job.position} before it"]
    return " · ".join(parts + ([job.note] if job.note else []))


# ---- the queue ----


async def _list(output: Output, json: bool) -> int:
    from lmx_daemon.contract.client import Client
    from lmx_daemon.contract.config import Home

    async with Client(Home.from_environment().socket) as client:
        jobs = await client.pulls()
    _show(output, jobs, json)
    return ExitCode.OK


def _show(output: Output, jobs: "list[Download]", json: bool) -> None:
    if json:
        output.json([_whole(job) for job in jobs])
        return
    if not jobs:
        output.note("there are no pulls; lmx pull begins one")
        return
    output.table(
        ("PULL", "MODEL", "STATE", "DONE", "OF", "RATE", "ETA", "NOTE"),
        [
            (
                job.id,
                _name(job),
                _state(job),
                size(job.done),
                size(job.total),
                f"{size(int(job.rate))}/s" if job.rate else "-",
                duration(job.eta),
                job.error.message if job.error else job.note or "",
            )
            for job in jobs
        ],
        right=("DONE", "OF", "RATE", "ETA"),
    )


def _whole(job: "Download") -> "dict[str, object]":
    """Every field, also those that are as they always are: a script need not know the defaults."""
    import msgspec

    whole: dict[str, object] = msgspec.structs.asdict(job)
    return whole


def _state(job: "Download") -> str:
    if job.state == "queued" and job.position is not None:
        return f"queued ({job.position + 1})"
    if job.state == "verifying" and job.to_check:
        return f"verifying {job.checked / job.to_check:.0%}"
    return job.state


async def _act(output: Output, verb: str, name: str, json: bool) -> int:
    async with await started() as client:
        job = await _find(client, name)
        acts = {
            "pause": client.pause_pull,
            "resume": client.resume_pull,
            "retry": client.retry_pull,
            "cancel": client.cancel_pull,
        }
        job = await acts[verb](job.id)
    if json:
        output.json(_whole(job))
    else:
        output.text(f"{job.repo} is {_state(job)}")
    return ExitCode.OK


async def _move(output: Output, name: str, position: int, json: bool) -> int:
    async with await started() as client:
        job = await _find(client, name)
        _show(output, await client.move_pull(job.id, position - 1), json)
    return ExitCode.OK


async def _clear(output: Output, json: bool) -> int:
    async with await started() as client:
        left = await client.clear_pulls()
    if json or left:
        _show(output, left, json)
    return ExitCode.OK


async def _limit(output: Output, text: str) -> int:
    from lmx_daemon.contract.errors import RequestError

    rate = None
    if text.lower() not in ("off", "none", "0"):
        found = RATE.fullmatch(text.strip())
        if found is None or found[1].count(".") > 1 or found[1] == ".":
            raise RequestError(f"{text!r} is no rate", hint="give it as 20MB, 500k, or off")
        rate = int(float(found[1]) * UNITS[found[2].lower()])
    async with await started() as client:
        await client.limit_pulls(rate)
    output.text("pulls go as fast as they can" if rate is None else f"pulls take at most {size(rate)}/s together")
    return ExitCode.OK


async def _find(client: "Client", name: str) -> "Download":
    """By id or its beginning, else by repository: the one that has not ended, or the last. Raises JobNotFoundError."""
    from lmx_daemon.contract.errors import JobNotFoundError

    jobs = await client.pulls()
    found = [job for job in jobs if job.id == name] or [
        job for job in jobs if name in (job.repo, _name(job)) or (len(name) >= 3 and job.id.startswith(name))
    ]
    if not found:
        raise JobNotFoundError(f"there is no pull {name!r}", hint="`lmx downloads` lists them")
    return found[0]

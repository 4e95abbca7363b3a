"""`lmx pull`: a model from the Hub. The daemon fetches; this asks, shows how it goes on, and leaves."""

import asyncio
import os
from typing import TYPE_CHECKING, Annotated

import typer

from lmx_cli.commands.models import started
from lmx_cli.output import ExitCode, Output
from lmx_cli.pull_text import name_of, progress, state_of, whole
from lmx_daemon.contract.units import size

if TYPE_CHECKING:
    from lmx_daemon.contract.pulls import Download, PullRequest

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
        from lmx_daemon.contract.pulls import PullRequest

        asked = PullRequest(
            repo=repo,
            revision=revision,
            include=tuple(include),
            exclude=tuple(exclude),
            token=os.environ.get("HF_TOKEN"),
        )
        return asyncio.run(_pull(output, asked, quiet=quiet, detach=detach, json=json))


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
                    output.json_line(whole(job))
                elif not quiet:
                    output.progress(progress(job))
        except asyncio.CancelledError:
            if output.ended_by is not None:
                raise  # SIGTERM or SIGHUP ends this command only; the daemon goes on with the pull
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()  # Ctrl-C: there is one last thing to do
            output.progress("")
            job = await client.pause_pull(job.id)
            output.note(f"paused at {size(job.done)}; go on with: lmx pull {name_of(job)}")
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
        output.json(whole(job))
    elif not quiet:
        output.text(f"{job.repo} is {state_of(job)}; see: lmx downloads")
    return ExitCode.OK


def _ended(output: Output, job: "Download", quiet: bool) -> int:
    from lmx_daemon.contract.errors import error_from

    if job.state != "done":
        if job.error is not None:
            raise error_from(job.error)
        if not quiet:
            output.note(f"{job.repo} is {job.state}; go on with: lmx pull {name_of(job)}")
        return ExitCode.ERROR
    if not quiet:
        before = f", {size(job.resumed)} of it from before" if job.resumed else ""
        output.text(f"{job.repo} is here: {job.files_done} files, {size(job.done)}, each proved by its hash{before}")
        if job.skipped:
            more = ", ..." if len(job.skipped) > SHOWN_LEFT_OUT else ""
            shown = ", ".join(job.skipped[:SHOWN_LEFT_OUT]) + more
            output.note(f"left out {len(job.skipped)} files that a model does not need: {shown}")
    return ExitCode.OK
